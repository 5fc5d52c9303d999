//! What a client may send instead: commands, a wait for more or a protocol error, however the bytes
//! arrive.

use std::path::Path;

use strait_fuzz::Target;

use super::super::parse::{Parsed, Parser};

#[test]
fn requests() {
    let target = Target {
        name: "resp",
        corpora: &[Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/corpus/resp"
        ))],
        memory_bytes_max: 1 << 20,
        per_mille: 1000,
    };
    let (mut parser, mut again) = (Parser::default(), Parser::default());
    let mut commands = 0;
    target.run(|input| {
        let mut rest = input;
        for authenticated in [true, false, true] {
            match parser.parse(rest, authenticated) {
                Ok(Parsed::Command(len)) => {
                    commands += 1;
                    let (command, after) = rest.split_at(len);
                    // The same without what follows, and not before it is whole.
                    assert_eq!(
                        again.parse(command, authenticated),
                        Ok(Parsed::Command(len))
                    );
                    let (args, same) = (parser.args(rest), again.args(command));
                    assert!((0..=args.len()).all(|n| args.get(n) == same.get(n)));
                    let cut = again.parse(&command[..len - 1], authenticated);
                    assert!(matches!(cut, Ok(Parsed::Incomplete(_))), "{cut:?}");
                    rest = after;
                }
                Ok(Parsed::Incomplete(needed)) => {
                    assert!(needed > rest.len());
                    break;
                }
                Err(_) => break,
            }
        }
    });
    assert!(commands > 0, "no command was understood");
}
