//! Configurations that nobody would write: read, or refused with their mistakes.

use strait_fuzz::Target;

use super::*;

#[test]
fn configurations() {
    let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/config"));
    let target = Target {
        name: "config",
        corpora: &[corpus],
        memory_bytes_max: 64 << 20,
        per_mille: 100,
    };
    let mut read = 0;
    target.run(|input| {
        let text = String::from_utf8_lossy(input);
        match check(&text) {
            Ok(_) => read += 1,
            Err(mistakes) => assert!(!mistakes.to_string().is_empty()),
        }
    });
    assert!(read > 0, "no configuration was read");
}
