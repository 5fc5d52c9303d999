//! Writing a snapshot while clients go on writing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::super::Grid;
use super::super::RECORD_BYTES_MAX;
use super::super::clock::now_ms;
use super::super::journal::{Generation, frame};
use super::super::record::CounterRows;
use super::super::scan::{CounterCursor, Have, Show};
use super::read::{END_MAGIC, SnapshotHead, file_head};
use super::{PART, SnapshotFile, file_name};
use crate::datadir::sync_directory;

/// Level of zstd: the records are columns of sorted keys and small numbers.
const LEVEL: i32 = 3;

impl Grid {
    /// Writes all counters to a new file in `dir`, fsynced and renamed when it is whole. Each
    /// counter is as it was at some moment while the file was written; writes go on.
    ///
    /// Takes long on large grids: not for tokio's threads.
    pub fn write_snapshot(&self, dir: &Path) -> io::Result<SnapshotFile> {
        fs::create_dir_all(dir)?;
        let time_ms = now_ms();
        let path = dir.join(file_name(time_ms));
        let part = dir.join(file_name(time_ms) + PART);
        let written = self.write_part(&part, time_ms);
        let bytes = match written {
            Ok(bytes) => bytes,
            Err(error) => {
                // What is left of it is in the way of what the full disk needs more.
                drop(fs::remove_file(&part));
                return Err(error);
            }
        };
        fs::rename(&part, &path)?;
        sync_directory(dir)?;
        Ok(SnapshotFile {
            time_ms,
            path,
            bytes,
            unfinished: false,
        })
    }

    fn write_part(&self, part: &Path, time_ms: u64) -> io::Result<u64> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(part)?;
        let mut out = Output {
            file,
            written: 0,
            generation: Generation(time_ms),
        };
        out.put(&file_head(time_ms))?;
        let mut cursor = CounterCursor::default();
        let (mut counters, mut records, mut more) = (0, 0_u64, true);
        while more {
            let mut rows = CounterRows::default();
            while more && rows.bytes_max() < RECORD_BYTES_MAX / 2 {
                let wanted = (&Have::default(), Show::Present);
                let state = self.lock();
                more = state.scan_slice(&mut cursor, wanted, &mut rows, RECORD_BYTES_MAX / 2);
            }
            counters += rows.len() as u64;
            let origins = self.lock().origins.clone();
            for record in rows.encode(&origins, &[]) {
                out.put_record(&record)?;
                records += 1;
            }
        }
        let head = SnapshotHead {
            time_ms,
            ended_ms: now_ms(),
            counters,
            records,
        };
        out.put_end(&head)?;
        out.file.sync_all()?;
        Ok(out.written)
    }
}

struct Output {
    file: File,
    written: u64,
    generation: Generation,
}

impl Output {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn put_record(&mut self, record: &[u8]) -> io::Result<()> {
        let packed = zstd::bulk::compress(record, LEVEL)?;
        let mut framed = Vec::with_capacity(packed.len() + 16);
        frame::put(&mut framed, self.generation, self.written, &packed);
        self.put(&framed)
    }

    fn put_end(&mut self, head: &SnapshotHead) -> io::Result<()> {
        let mut end = END_MAGIC.to_vec();
        for number in [head.ended_ms, head.counters, head.records] {
            end.extend(number.to_le_bytes());
        }
        let mut framed = Vec::new();
        frame::put(&mut framed, self.generation, self.written, &end);
        self.put(&framed)
    }
}
