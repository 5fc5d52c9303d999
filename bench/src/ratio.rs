//! `strait-bench ratio`: what files cost on the wire, through the gateway's encoder and decoder.
#![allow(clippy::print_stdout, reason = "the figures go to standard output")]

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use strait_dedup::{
    BATCH_BYTES_MAX, BatchId, Decoder, Decoding, EncodeOptions, Encoder, Level, Store, StoreConfig,
};
use strait_transport::frame;

use crate::cpu::CpuInstant;

/// The descriptor of a file's stream: a kind and a random number.
const OPEN_BYTES: usize = 20;

/// The lane of bulk data.
const BULK_LANE: u8 = 2;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Files, in the order in which they are sent
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// How the two ends are set up.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A fixed zstd level instead of the adaptive one
    #[arg(long)]
    pub(crate) level: Option<i32>,
    /// History to keep in memory, in MiB, for each end
    #[arg(long, default_value_t = 4096)]
    pub(crate) memory_mib: u64,
    /// What the link drains, in Mbit/s, for the adaptive level; 0 for unknown
    #[arg(long, default_value_t = 100.0)]
    pub(crate) drain_mbit: f64,
}

/// One line of output.
#[derive(Serialize)]
struct Line {
    file: String,
    raw_bytes: u64,
    wire_bytes: u64,
    ratio: f64,
    encode_mb_s: f64,
    decode_mb_s: f64,
    /// Bytes that were references, of all.
    hit_percent: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut link = Link::open(&arguments.options)?;
    for (stream, path) in arguments.files.iter().enumerate() {
        let figures = link
            .send(stream as u64, path)
            .with_context(|| format!("sending {}", path.display()))?;
        println!("{}", serde_json::to_string(&figures.line(path))?);
    }
    Ok(())
}

/// Both ends of one direction of a link.
pub(crate) struct Link {
    pub(crate) encoder: Encoder,
    decoder: Decoder,
}

#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) raw_bytes: u64,
    pub(crate) wire_bytes: u64,
    reference_bytes: u64,
    pub(crate) encoding: Duration,
    pub(crate) decoding: Duration,
}

impl Link {
    pub(crate) fn open(options: &Options) -> anyhow::Result<Self> {
        let open = || {
            let memory_bytes_max = options.memory_mib << 20;
            Store::open(StoreConfig {
                dir: None,
                memory_bytes_max,
                disk_bytes_max: 0,
                links: 1,
            })
        };
        let (mut encoder, _) = open().link("receiver");
        let (_, decoder) = open().link("sender");
        if let Some(level) = options.level {
            encoder.set_level(Level::Fixed(level));
        }
        encoder.handle_drain(Some(options.drain_mbit * 1e6 / 8.0).filter(|rate| *rate > 0.0));
        Self::between(encoder, decoder)
    }

    /// Connects the two ends.
    pub(crate) fn between(mut encoder: Encoder, mut decoder: Decoder) -> anyhow::Result<Self> {
        encoder.handle_hello(&decoder.hello())?;
        Ok(Self { encoder, decoder })
    }

    /// Sends a file as one stream and checks what comes out.
    pub(crate) fn send(&mut self, stream: u64, path: &Path) -> anyhow::Result<Figures> {
        let mut file = File::open(path)?;
        let mut figures = Figures::default();
        let mut raw = Vec::with_capacity(BATCH_BYTES_MAX);
        for seq in 0.. {
            raw.clear();
            (&mut file)
                .take(BATCH_BYTES_MAX as u64)
                .read_to_end(&mut raw)?;
            if raw.is_empty() {
                break;
            }
            let id = BatchId { stream, seq };
            self.send_batch(id, &raw, &mut figures)?;
        }
        Ok(figures)
    }

    pub(crate) fn send_batch(
        &mut self,
        id: BatchId,
        raw: &[u8],
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let options = EncodeOptions {
            id,
            lane: BULK_LANE,
            literal: false,
            hurried: false,
        };
        let begin = CpuInstant::now();
        let encoded = self.encoder.encode(options, raw);
        figures.encoding += begin.elapsed();
        let begin = CpuInstant::now();
        let decoding = self.decoder.decode(&encoded.bytes)?;
        figures.decoding += begin.elapsed();
        let Decoding::Ready(bytes) = decoding else {
            bail!("batch {} was not decoded: {decoding:?}", id.seq);
        };
        ensure!(bytes == raw, "batch {} came out different", id.seq);
        self.encoder.handle_acked(id);
        figures.raw_bytes += raw.len() as u64;
        let open_len = (id.seq == 0).then_some(OPEN_BYTES);
        figures.wire_bytes += frame::wire_len(encoded.bytes.len(), open_len) as u64;
        figures.reference_bytes += encoded.stats.reference_bytes;
        Ok(())
    }
}

impl Figures {
    pub(crate) fn encode_mb_s(&self) -> f64 {
        self.mb_s(self.encoding)
    }

    fn mb_s(&self, time: Duration) -> f64 {
        round(self.raw_bytes as f64 / 1e6 / time.as_secs_f64().max(1e-9))
    }

    fn line(&self, path: &Path) -> Line {
        Line {
            file: path.display().to_string(),
            raw_bytes: self.raw_bytes,
            wire_bytes: self.wire_bytes,
            ratio: round(self.raw_bytes as f64 / self.wire_bytes.max(1) as f64),
            encode_mb_s: self.encode_mb_s(),
            decode_mb_s: self.mb_s(self.decoding),
            hit_percent: round(self.reference_bytes as f64 * 100.0 / self.raw_bytes.max(1) as f64),
        }
    }
}

pub(crate) fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
