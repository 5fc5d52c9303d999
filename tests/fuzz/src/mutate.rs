//! Mutations as libFuzzer and AFL know them: most keep an input nearly whole, so that it fails deep
//! in a decoder rather than at its first byte.

/// Numbers at which lengths and counts go wrong.
const EDGES: [u64; 10] = [
    0,
    1,
    0x7f,
    0x80,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX - 7,
    u64::MAX,
];
const MUTATIONS_MAX: usize = 4;
/// Inputs don't grow past this.
const INPUT_BYTES_MAX: usize = 256 << 10;

pub(crate) struct Mutator {
    state: u64,
}

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// SplitMix64 (Steele, Lea, Flood, 2014).
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound.max(1) as u64) as usize
    }

    /// A place in `len` bytes: the first ones, where headers are, as often as all others.
    fn place(&mut self, len: usize) -> usize {
        let near = if self.below(2) == 0 { 64 } else { usize::MAX };
        self.below(len.min(near))
    }

    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let from = self.place(len + 1);
        let most = if self.below(4) == 0 { 1 << 12 } else { 8 };
        from..len.min(from + 1 + self.below(most))
    }

    pub(crate) fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let input = &corpus[self.below(corpus.len())];
        let mut input = input.clone();
        for _ in 0..=self.below(MUTATIONS_MAX) {
            self.step(&mut input, corpus);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn step(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.place(input.len());
        let range = self.range(input.len());
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.draw() as u8,
            2 if at < input.len() => {
                input[at] = input[at].wrapping_add(self.below(5) as u8).wrapping_sub(2)
            }
            3 => {
                let edge = EDGES[self.below(EDGES.len())].to_le_bytes();
                let width = 1 << self.below(4);
                let room = width.min(input.len() - at);
                input[at..at + room].copy_from_slice(&edge[..room]);
            }
            4 => {
                let varint = leb128(EDGES[self.below(EDGES.len())]);
                input.splice(at..at, varint);
            }
            5 => drop(input.drain(range)),
            6 => {
                let copy = input[range].to_vec();
                input.splice(at..at, copy);
            }
            7 => {
                let other = &corpus[self.below(corpus.len())];
                let from = self.place(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => input.truncate(at),
        }
    }
}

fn leb128(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
