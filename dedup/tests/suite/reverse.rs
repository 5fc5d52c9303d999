//! What came one way is referred to the other way: a restore does not ship the backup again.

use strait_dedup::{BatchId, Decoder, Decoding, EncodeOptions, Encoder, Store, StoreConfig};

use crate::link::memory_store;
use crate::noise::noise;

fn send(from: &mut Encoder, to: &mut Decoder, stream: u64, data: &[u8]) -> usize {
    let mut wire_bytes = 0;
    for (seq, raw) in data.chunks(1 << 20).enumerate() {
        let id = BatchId {
            stream,
            seq: seq as u64,
        };
        let mut options = EncodeOptions {
            id,
            lane: 2,
            literal: false,
            hurried: false,
        };
        let mut encoded = from.encode(options, raw);
        wire_bytes += encoded.bytes.len();
        let mut decoding = to.decode(&encoded.bytes).expect("our own batch");
        if decoding == Decoding::Missing {
            options.literal = true;
            encoded = from.encode(options, raw);
            wire_bytes += encoded.bytes.len();
            decoding = to.decode(&encoded.bytes).expect("our own batch");
        }
        assert!(decoding == Decoding::Ready(raw.to_vec().into()));
        from.handle_acked(id);
    }
    wire_bytes
}

#[test]
fn a_restore_costs_references() {
    let (mut east_out, mut east_in) = memory_store(256 << 20).link("west");
    let (mut west_out, mut west_in) = memory_store(256 << 20).link("east");
    east_out
        .handle_hello(&west_in.hello())
        .expect("our own hello");
    west_out
        .handle_hello(&east_in.hello())
        .expect("our own hello");
    let mut backup = noise(1, 10 << 20);
    assert!(send(&mut east_out, &mut west_in, 0, &backup) > backup.len());
    let restore = send(&mut west_out, &mut east_in, 0, &backup);
    assert!(restore < 30_000, "{restore} B");
    // An edit of it, too, is found on either side.
    backup.splice(5_000_000..5_000_100, *b"restored and edited");
    let edited = send(&mut west_out, &mut east_in, 1, &backup);
    assert!(edited < 20_000, "{edited} B");
    let back = send(&mut east_out, &mut west_in, 2, &backup);
    assert!(back < 20_000, "{back} B");
}

/// What was received is indexed as we send; after a restart that is read back from the disk.
#[test]
fn a_restore_after_a_restart_costs_references() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let start = || {
        let [(east_out, east_in), (west_out, west_in)] = [0, 1].map(|site: usize| {
            let config = StoreConfig {
                dir: Some(dirs[site].path().to_path_buf()),
                memory_bytes_max: 16 << 20,
                disk_bytes_max: 256 << 20,
                links: 1,
            };
            Store::open(config).link("peer")
        });
        let (mut ends, mut back) = ((east_out, west_in), (west_out, east_in));
        ends.0.handle_hello(&ends.1.hello()).expect("our own hello");
        back.0.handle_hello(&back.1.hello()).expect("our own hello");
        (ends, back)
    };
    let backup = noise(3, 40 << 20);
    let ((mut out, mut inward), (mut back, mut home)) = start();
    send(&mut out, &mut inward, 0, &backup);
    send(&mut back, &mut home, 0, &noise(4, 11 << 20));
    drop((out, inward, back, home));
    // At once, the end of it: 4 MiB are indexed with each batch.
    let (_, (mut back, mut home)) = start();
    let restored = send(&mut back, &mut home, 1, &backup[36 << 20..]);
    assert!(restored < 30_000, "{restored} B");
}

#[test]
fn a_peer_that_lost_what_it_sent_is_sent_it_again() {
    let (mut east_out, _) = memory_store(256 << 20).link("west");
    let (mut west_out, mut west_in) = memory_store(256 << 20).link("east");
    east_out
        .handle_hello(&west_in.hello())
        .expect("our own hello");
    let backup = noise(2, 3 << 20);
    send(&mut east_out, &mut west_in, 0, &backup);
    // East begins anew: it holds nothing of what it sent.
    let (_, mut east_in) = memory_store(256 << 20).link("west");
    west_out
        .handle_hello(&east_in.hello())
        .expect("our own hello");
    assert!(send(&mut west_out, &mut east_in, 0, &backup) > backup.len());
}
