//! The disk under a journal fills, and empties again.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use redis::Commands;
use strait_tests::{SmallDisk, eventually, eventually_equal_digests, get, pair_of_sites};

#[test]
fn a_full_disk_refuses_writes_shows_as_lag_and_loses_nothing() {
    let (mut east, west, _cable) = pair_of_sites();
    let () = east.redis().incr("before", 1).unwrap();
    eventually_equal_digests(&east, &west, 30);
    east.stop();
    let grid = east.data().join("grid");
    let journal: Vec<_> = std::fs::read_dir(&grid).unwrap().collect();
    let journal: Vec<_> = journal
        .into_iter()
        .map(|file| file.unwrap().path())
        .collect();
    let kept: Vec<_> = journal
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    let Some(disk) = SmallDisk::over(&grid, "256k") else {
        return;
    };
    for (path, bytes) in journal.iter().zip(kept) {
        std::fs::write(path, bytes).unwrap();
    }
    east.start();
    let mut redis = east.redis();
    // More than there is room for.
    let line = "x".repeat(1000);
    let mut pipe = redis::pipe();
    for _ in 0..400 {
        pipe.xadd("clicks", "*", &[("line", &line)]).ignore();
    }
    // The last of it may be refused already.
    drop(pipe.exec(&mut redis));
    let refused = eventually("writes are refused", 20, || {
        let added: redis::RedisResult<i64> = redis.incr("before", 0);
        added.err()
    });
    assert!(refused.to_string().contains("MISCONF"), "{refused}");
    let value: i64 = redis.get("before").unwrap();
    assert_eq!(value, 1, "reads go on");
    let (code, reason) = get(east.http, "/readyz").unwrap();
    assert_eq!(code, 503);
    assert!(reason.contains("journal"), "{reason}");
    eventually("what is not on disk shows as lag", 20, || {
        let status = east.status()?;
        assert_eq!(status["grid"]["journal_failed"], true);
        let lag = status["links"][0]["streams"][1]["lag_s"].as_f64()?;
        (lag > 0.5).then_some(())
    });
    // Neither does a start need room.
    east.kill();
    east.start();
    let mut redis = east.redis();
    let value: i64 = redis.get("before").unwrap();
    assert_eq!(value, 1);
    assert!(!east.log_text().contains("damaged"), "nothing is");
    // Nor does it take more each time that it tries.
    let line = "y".repeat(100_000);
    let refused = eventually("writes are refused again", 20, || {
        let added: redis::RedisResult<String> = redis.xadd("clicks", "*", &[("line", &line)]);
        added.err()
    });
    assert!(refused.to_string().contains("MISCONF"), "{refused}");
    let files = std::fs::read_dir(&grid).unwrap().count();
    assert_eq!(files, 1, "what attempts left behind");
    disk.grow("64m");
    let () = eventually("writes are taken again", 20, || redis.incr("after", 1).ok());
    eventually_equal_digests(&east, &west, 30);
    let said = "writes are refused until a new one can";
    assert_eq!(
        east.log_text().matches(said).count(),
        2,
        "said once a start"
    );
    east.kill();
    east.start();
    eventually_equal_digests(&east, &west, 30);
}
