//! Two-step eviction (rule H4) under load: what the sender still refers to is there, although both
//! ends are at their cap and batches arrive out of order.

use std::sync::Arc;

use strait_dedup::{BatchId, Store, StoreConfig};

use crate::link::Wire;
use crate::noise::noise;
use crate::simulated::SimulatedDisk;

const BATCH: usize = 1 << 20;

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
    for n in 0..120u64 {
        // Fresh data, and what is about to be evicted, in turns.
        let seed = if n % 2 == 0 {
            n
        } else {
            (n - 1).saturating_sub(n * 7 % 50 / 2 * 2)
        };
        let id = BatchId {
            stream: n % 2,
            seq: n / 2,
        };
        wire.send(id, 2, &noise(seed, BATCH));
        if wire.in_flight() == 4 {
            for arrives in [3, 1, 2] {
                wire.arrive((arrives + n as usize) % wire.in_flight());
            }
        }
        for store in [&sender, &receiver] {
            let figures = store.figures();
            assert!(figures.disk_bytes <= 64 << 20, "{figures:?}");
            assert!(figures.memory_bytes <= 16 << 20, "{figures:?}");
        }
    }
    wire.drain();
    assert!(
        receiver.figures().disk_bytes < 60 * BATCH as u64,
        "something was evicted"
    );
    assert!(
        wire.wire_bytes < 90 * BATCH,
        "what was not evicted is referred to"
    );
    assert_eq!(wire.resent, 0);
}
