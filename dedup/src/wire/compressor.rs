//! A zstd context that is kept from batch to batch: one that is made anew for each takes a tenth of the
//! time of compressing to have its megabytes of tables paged in.
#![allow(
    unsafe_code,
    reason = "the safe wrapper wants every prefix to outlive a context that is kept"
)]

use std::slice;

use zstd::zstd_safe::{self, CCtx, CParameter, ResetDirective};

/// A larger context, that of a hard level, is not worth its memory to the next batch.
pub(crate) const KEPT_BYTES_MAX: usize = 6 << 20;

/// Compresses frame by frame; holds at most [`KEPT_BYTES_MAX`] and the last frame in between.
#[derive(Default)]
pub(crate) struct Compressor {
    context: Option<CCtx<'static>>,
    frame: Vec<u8>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressor(…)")
    }
}

impl Compressor {
    /// Memory that is kept until the next frame.
    pub(crate) fn bytes(&self) -> usize {
        self.frame.capacity() + self.context.as_ref().map_or(0, CCtx::sizeof)
    }

    /// `body` as one frame under `parameters`, with `prefix` as the window before it. `None` when zstd
    /// is out of memory.
    pub(super) fn compress(
        &mut self,
        parameters: &[CParameter],
        prefix: &[u8],
        body: &[u8],
    ) -> Option<&[u8]> {
        let mut context = self.context.take().or_else(CCtx::try_create)?;
        context.reset(ResetDirective::SessionAndParameters).ok()?;
        for parameter in parameters {
            context.set_parameter(*parameter).ok()?;
        }
        if !prefix.is_empty() {
            // SAFETY: these are the bytes of a slice that lives for all of this function, and zstd
            // reads a prefix in the frame that comes next only. The context is kept for another
            // frame after it was reset, which drops the prefix, and is freed on any other way out.
            let prefix = unsafe { slice::from_raw_parts(prefix.as_ptr(), prefix.len()) };
            context.ref_prefix(prefix).ok()?;
        }
        self.frame.clear();
        self.frame.reserve(zstd_safe::compress_bound(body.len()));
        context.compress2(&mut self.frame, body).ok()?;
        context.reset(ResetDirective::SessionAndParameters).ok()?;
        if context.sizeof() <= KEPT_BYTES_MAX {
            self.context = Some(context);
        }
        Some(&self.frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::noise;

    /// What is left in a kept context's tables leads no later frame astray.
    #[test]
    fn a_kept_context_compresses_like_a_new_one() {
        let mut kept = Compressor::default();
        for seed in 0..8 {
            let prefix = noise(seed, 100_000 * (seed as usize % 3));
            let body = [noise(seed, 150_000), noise(seed / 2, 50_000)].concat();
            let level = [3, 6, 1, 12][seed as usize % 4];
            let parameters = [CParameter::CompressionLevel(level)];
            let mut new = Compressor::default();
            let theirs = new.compress(&parameters, &prefix, &body);
            assert!(theirs.is_some());
            assert!(
                kept.compress(&parameters, &prefix, &body) == theirs,
                "frame {seed}"
            );
            let held = kept.context.as_ref().map_or(0, CCtx::sizeof);
            assert!(held <= KEPT_BYTES_MAX, "{held} B held");
        }
    }
}
