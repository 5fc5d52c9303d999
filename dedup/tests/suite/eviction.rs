//! Two-step eviction (rule H4) under load: what the sender still refers to is there, although both
//! ends are at their cap and batches arrive out of order.

use std::sync::Arc;

use strait_dedup::{BatchId, Store, StoreConfig};

use crate::link::Wire;
use crate::noise::noise;
use crate::simulated::SimulatedDisk;

const BATCH: usize = 1 << 20;
/// A history at its cap holds about so many batches.
const HELD_BATCHES: usize = 28;

fn store() -> Store {
    let config = StoreConfig {
        dir: Some("/history".into()),
        memory_bytes_max: 16 << 20,
        disk_bytes_max: 128 << 20,
        links: 1,
    };
    Store::open_on(config, Arc::new(SimulatedDisk::default()))
}

#[test]
fn nothing_that_is_referred_to_is_evicted() {
    let (sender, receiver) = (store(), store());
    let mut wire = Wire::between(sender.link("receiver").0, receiver.link("sender").1);
    // In the order in which they stand in history.
    let mut appended: Vec<u64> = Vec::new();
    for n in 0..160u64 {
        // Fresh data, and what is about to be evicted, in turns.
        let oldest = appended
            .len()
            .checked_sub(HELD_BATCHES - n as usize / 2 % 3);
        let seed = match oldest {
            Some(oldest) if n % 2 == 1 => appended[oldest],
            _ => n,
        };
        let id = BatchId {
            stream: n % 2,
            seq: n / 2,
        };
        let before = wire.wire_bytes;
        wire.send(id, 2, &noise(seed, BATCH));
        if wire.wire_bytes - before > BATCH / 2 {
            appended.push(seed);
        }
        // The newest overtakes the others.
        if wire.in_flight() >= 4 {
            wire.arrive(3);
            wire.arrive(n as usize % 3);
        }
        for store in [&sender, &receiver] {
            let figures = store.figures();
            assert!(figures.disk_bytes <= 64 << 20, "{figures:?}");
            assert!(figures.memory_bytes <= 16 << 20, "{figures:?}");
        }
    }
    wire.drain();
    let kept = receiver.figures().disk_bytes / BATCH as u64;
    let appended = appended.len() as u64;
    assert!(
        kept < appended / 2,
        "{kept} of {appended}: something was evicted"
    );
    assert!(
        appended < 140,
        "{appended}: what was not evicted is referred to"
    );
    assert_eq!(wire.resent, 0);
}
