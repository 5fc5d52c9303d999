//! The body of a batch: plan and literals in one zstd frame, with the bases as its prefix.

use zstd::zstd_safe::{CParameter, DCtx};

use super::compressor::Compressor;

/// Every zstd frame begins with these; they stay off the wire.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A body like this is fresh data.
const LARGE_BODY_BYTES: usize = 256 << 10;
/// Cutting a stream into frames costs up to 1 % at level 4: of a prefix zstd enters one position in
/// three. A larger long-match table makes up for it on text, tables and binaries alike.
const LARGE_BODY: (i32, [CParameter; 2]) = (4, [CParameter::HashLog(19), CParameter::ChainLog(17)]);

/// Compresses what follows `prefix_len` bytes of prefix in `buffer`. `None` when that does not make it
/// smaller.
///
/// Prefix and body lie in one buffer because zstd then goes on as in one stream; a prefix elsewhere
/// is searched as an external dictionary, a third slower and to less effect.
pub(crate) fn compress<'a>(
    compressor: &'a mut Compressor,
    buffer: &[u8],
    prefix_len: usize,
    level: i32,
) -> Option<&'a [u8]> {
    let (prefix, body) = buffer.split_at_checked(prefix_len)?;
    if body.is_empty() {
        return None;
    }
    let mut parameters = vec![
        CParameter::CompressionLevel(level),
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ];
    if level == LARGE_BODY.0 && body.len() > LARGE_BODY_BYTES {
        parameters.extend(LARGE_BODY.1);
    }
    let frame = compressor.compress(&parameters, prefix, body)?;
    let frame = frame.strip_prefix(&MAGIC)?;
    (frame.len() < body.len()).then_some(frame)
}

/// Decompresses to exactly `len` bytes; `None` when the frame is damaged or holds another length.
/// Takes no more memory than `len` and the frame.
pub(crate) fn decompress(frame: &[u8], prefix: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut whole = Vec::with_capacity(MAGIC.len() + frame.len());
    whole.extend_from_slice(&MAGIC);
    whole.extend_from_slice(frame);
    let mut context = DCtx::try_create()?;
    if !prefix.is_empty() {
        context.ref_prefix(prefix).ok()?;
    }
    let mut out = Vec::with_capacity(len);
    context.decompress(&mut out, &whole).ok()?;
    (out.len() == len).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_used_and_needed() {
        let mut prefix = vec![0; 50_000];
        blake3::Hasher::new().finalize_xof().fill(&mut prefix);
        let body = [&prefix[1000..30_000], b"and a little more"].concat();
        let compress = |prefix: &[u8], body: &[u8]| {
            let buffer = [prefix, body].concat();
            let mut compressor = Compressor::default();
            compress(&mut compressor, &buffer, prefix.len(), 3).map(<[u8]>::to_vec)
        };
        let frame = compress(&prefix, &body).expect("it shrinks");
        assert!(frame.len() < 100, "{} bytes", frame.len());
        assert_eq!(decompress(&frame, &prefix, body.len()), Some(body.clone()));
        assert_eq!(decompress(&frame, &prefix, body.len() - 1), None);
        assert_eq!(decompress(&frame, &prefix, body.len() + 1), None);
        assert_eq!(decompress(&frame, &[], body.len()), None);
        assert_eq!(compress(&[], &prefix), None, "noise does not shrink");
        assert_eq!(compress(&prefix, &[]), None, "nothing does not shrink");
    }
}
