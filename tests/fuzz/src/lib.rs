//! Fuzzing for decoders, as plain tests on stable Rust: every file of a committed corpus as it is,
//! then seeded mutations of them, with an eye on panics and on memory.
//!
//! `STRAIT_FUZZ_ITERATIONS` says how many mutations each target gets, `STRAIT_FUZZ_SEED` which.

mod memory;
mod mutate;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

pub use memory::held_bytes;
use mutate::Mutator;

const ITERATIONS: u64 = 20_000;

/// What is fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Names the file that a finding is written to.
    pub name: &'a str,
    /// Folders of inputs, each of which must hold some.
    pub corpora: &'a [&'a Path],
    /// Most bytes that one input may make the thread hold at once, whatever it declares.
    pub memory_bytes_max: usize,
    /// Mutations in a usual run, of a thousand: less than 1000 for a target that is slow.
    pub per_mille: u64,
}

impl Target<'_> {
    /// Gives `check` each input and its mutations; `check` panics on what must not be.
    ///
    /// # Panics
    /// When `check` does, when it takes too much memory, or when a corpus is empty. The input is left
    /// in the system's temporary directory: it belongs into the corpus, with the fix.
    pub fn run(&self, mut check: impl FnMut(&[u8])) {
        let corpus: Vec<Vec<u8>> = self.corpora.iter().flat_map(|dir| read(dir)).collect();
        for input in &corpus {
            self.one(input, &mut check);
        }
        let iterations = number("STRAIT_FUZZ_ITERATIONS").unwrap_or(ITERATIONS);
        let mut mutator = Mutator::new(number("STRAIT_FUZZ_SEED").unwrap_or(1));
        for _ in 0..iterations * self.per_mille / 1000 {
            self.one(&mutator.mutate(&corpus), &mut check);
        }
    }

    /// The same of a decoder: `check` says whether it has understood the input. Of all it must understand one.
    ///
    /// # Panics
    /// As [`Target::run`], and when nothing was understood: the mutations then tell nothing.
    pub fn run_and_understand(&self, mut check: impl FnMut(&[u8]) -> bool) {
        let mut understood = 0;
        self.run(|input| understood += usize::from(check(input)));
        assert!(understood > 0, "nothing of {} was understood", self.name);
    }

    fn one(&self, input: &[u8], check: &mut impl FnMut(&[u8])) {
        let before = memory::begin();
        let outcome = catch_unwind(AssertUnwindSafe(|| check(input)));
        let taken = memory::most_since(before);
        let Err(panic) = outcome else {
            if taken > self.memory_bytes_max {
                let path = self.keep(input);
                panic!("{taken} bytes of memory taken for {}", path.display());
            }
            return;
        };
        eprintln!("a finding: {}", self.keep(input).display());
        resume_unwind(panic);
    }

    fn keep(&self, input: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("strait-fuzz-{}.bin", self.name));
        match fs::write(&path, input) {
            Ok(()) => path,
            Err(_) => PathBuf::from(format!("{input:02x?}")),
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn read(dir: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    let inputs: Vec<_> = paths
        .iter()
        .filter_map(|path| fs::read(path).ok())
        .collect();
    assert!(!inputs.is_empty(), "no corpus in {}", dir.display());
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target<'a>(corpora: &'a [&'a Path]) -> Target<'a> {
        Target {
            name: "self",
            corpora,
            memory_bytes_max: 1 << 20,
            per_mille: 1000,
        }
    }

    #[test]
    fn a_panic_and_a_large_allocation_are_found() {
        let here = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
        let corpora = [here];
        let target = target(&corpora);
        let finds = |check: fn(&[u8])| catch_unwind(|| target.run(check)).is_err();
        assert!(!finds(|_| ()));
        assert!(finds(|input| assert!(
            !input.ends_with(b"\xff"),
            "a finding"
        )));
        assert!(finds(|input| drop(Vec::<u8>::with_capacity(
            (2 << 20) * usize::from(input.first() == Some(&0))
        ))));
    }
}
