//! An adaptive binary range coder for numbers: those of a plan, and those of records on a link.
//!
//! The coder of LZMA (Pavlov; after Martin, "Range encoding", 1979): each bit is coded under an
//! 11-bit probability that adapts. A number goes as its bit length, then its bits below the highest,
//! the first three of those adaptive too. A run of like numbers costs a fraction of a byte each.

const PROBABILITY_BITS: u32 = 11;
const ADAPT: u32 = 4;
const TOP: u32 = 1 << 24;
/// Bits of a number's length: lengths 0..=63, so numbers below 2⁶³.
const LENGTH_BITS: u32 = 6;
/// Bits below the highest that are coded adaptively.
const ADAPTIVE_BITS: u32 = 3;

/// The bytes ended before the numbers did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("numbers that end early")]
pub struct EndsEarly;

/// The adaptive state of one kind of number.
#[derive(Clone, Debug)]
pub struct Model {
    length: [u16; 1 << LENGTH_BITS],
    high: Vec<[u16; 1 << ADAPTIVE_BITS]>,
}

const EVEN: u16 = 1 << (PROBABILITY_BITS - 1);

impl Default for Model {
    fn default() -> Self {
        let high = vec![[EVEN; 1 << ADAPTIVE_BITS]; 1 << LENGTH_BITS];
        Self {
            length: [EVEN; 1 << LENGTH_BITS],
            high,
        }
    }
}

/// The adaptive state of one kind of symbol, of which there are `N`: a power of 2.
#[derive(Clone, Debug)]
pub struct Symbols<const N: usize>([u16; N]);

impl<const N: usize> Default for Symbols<N> {
    fn default() -> Self {
        Self([EVEN; N])
    }
}

/// Either end of the coder, so that one description of a number serves both.
trait Coder {
    /// Codes one bit; a decoder ignores what it is given and returns what it reads.
    fn bit(&mut self, probability: &mut u16, bit: bool) -> bool;
    fn even_bits(&mut self, count: u32, bits: u64) -> u64;
}

fn code_number(coder: &mut impl Coder, model: &mut Model, number: u64) -> u64 {
    let length = u64::from(u64::BITS - number.leading_zeros());
    let length = code_tree(coder, &mut model.length, LENGTH_BITS, length);
    if length < 2 {
        return length;
    }
    let below = length as u32 - 1;
    let adaptive = below.min(ADAPTIVE_BITS);
    let rest = below - adaptive;
    let mask = |bits: u32| (1u64 << bits) - 1;
    let high = (number >> rest) & mask(adaptive);
    let high = code_tree(coder, &mut model.high[length as usize], adaptive, high);
    let low = coder.even_bits(rest, number & mask(rest));
    (((1 << adaptive) | high) << rest) | low
}

fn code_tree(coder: &mut impl Coder, tree: &mut [u16], bits: u32, value: u64) -> u64 {
    let mut node = 1;
    for shift in (0..bits).rev() {
        let bit = coder.bit(&mut tree[node], (value >> shift) & 1 == 1);
        node = node << 1 | usize::from(bit);
    }
    node as u64 - (1 << bits)
}

fn adapt(probability: &mut u16, bit: bool) {
    // The probability of a 0.
    if bit {
        *probability -= *probability >> ADAPT;
    } else {
        *probability += ((1 << PROBABILITY_BITS) - *probability) >> ADAPT;
    }
}

/// Writes numbers.
#[derive(Debug)]
pub struct Writer {
    low: u64,
    range: u32,
    cache: u8,
    pending: u64,
    out: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An empty stream of numbers.
    pub fn new() -> Self {
        Self {
            low: 0,
            range: u32::MAX,
            cache: 0,
            pending: 0,
            out: Vec::new(),
        }
    }

    /// Appends `number`, which must be below 2⁶³.
    pub fn number(&mut self, model: &mut Model, number: u64) {
        code_number(self, model, number);
    }

    /// Appends `symbol`, which must be below `N`.
    pub fn symbol<const N: usize>(&mut self, symbols: &mut Symbols<N>, symbol: u8) {
        code_tree(self, &mut symbols.0, N.ilog2(), u64::from(symbol));
    }

    /// The bytes.
    pub fn finish(mut self) -> Vec<u8> {
        for _ in 0..5 {
            self.shift_low();
        }
        // The first byte is always 0; a reader takes what is missing at the end for zeros.
        self.out.remove(0);
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }

    fn shift_low(&mut self) {
        if self.low < 0xff00_0000 || self.low > 0xffff_ffff {
            let carry = (self.low >> 32) as u8;
            self.out.push(self.cache.wrapping_add(carry));
            for _ in 0..self.pending {
                self.out.push(0xff_u8.wrapping_add(carry));
            }
            self.pending = 0;
            self.cache = (self.low >> 24) as u8;
        } else {
            self.pending += 1;
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    fn normalise(&mut self) {
        while self.range < TOP {
            self.range <<= 8;
            self.shift_low();
        }
    }
}

impl Coder for Writer {
    fn bit(&mut self, probability: &mut u16, bit: bool) -> bool {
        let bound = (self.range >> PROBABILITY_BITS) * u32::from(*probability);
        if bit {
            self.low += u64::from(bound);
            self.range -= bound;
        } else {
            self.range = bound;
        }
        adapt(probability, bit);
        self.normalise();
        bit
    }

    fn even_bits(&mut self, count: u32, bits: u64) -> u64 {
        for shift in (0..count).rev() {
            self.range >>= 1;
            if (bits >> shift) & 1 == 1 {
                self.low += u64::from(self.range);
            }
            self.normalise();
        }
        bits
    }
}

/// Reads numbers. Any bytes are some numbers; it is for the caller to check them.
#[derive(Debug)]
pub struct NumberReader<'a> {
    code: u32,
    range: u32,
    rest: std::slice::Iter<'a, u8>,
    /// Bytes read past the end.
    past: u32,
}

impl<'a> NumberReader<'a> {
    /// A reader of what a [`Writer`] finished.
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut reader = Self {
            code: 0,
            range: u32::MAX,
            rest: bytes.iter(),
            past: 0,
        };
        for _ in 0..4 {
            reader.code = reader.code << 8 | u32::from(reader.next_byte());
        }
        reader
    }

    /// The next number, below 2⁶³.
    ///
    /// # Errors
    /// Once the bytes have long ended; soon after their end it may still give numbers.
    pub fn number(&mut self, model: &mut Model) -> Result<u64, EndsEarly> {
        let number = code_number(self, model, 0);
        self.check().map(|()| number)
    }

    /// The next symbol, below `N`, which is at most 256.
    ///
    /// # Errors
    /// As [`Self::number`].
    pub fn symbol<const N: usize>(&mut self, symbols: &mut Symbols<N>) -> Result<u8, EndsEarly> {
        let symbol = code_tree(self, &mut symbols.0, N.ilog2(), 0);
        self.check().map(|()| symbol as u8)
    }

    fn check(&self) -> Result<(), EndsEarly> {
        // A writer leaves out at most the zeros of its last five bytes, and those of its stream.
        if self.past > 64 {
            Err(EndsEarly)
        } else {
            Ok(())
        }
    }

    fn next_byte(&mut self) -> u8 {
        self.rest.next().copied().unwrap_or_else(|| {
            self.past += 1;
            0
        })
    }

    fn normalise(&mut self) {
        while self.range < TOP {
            self.range <<= 8;
            self.code = self.code << 8 | u32::from(self.next_byte());
        }
    }
}

impl Coder for NumberReader<'_> {
    fn bit(&mut self, probability: &mut u16, _: bool) -> bool {
        let bound = (self.range >> PROBABILITY_BITS) * u32::from(*probability);
        let bit = self.code >= bound;
        if bit {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        adapt(probability, bit);
        self.normalise();
        bit
    }

    fn even_bits(&mut self, count: u32, _: u64) -> u64 {
        let mut bits = 0;
        for _ in 0..count {
            self.range >>= 1;
            let bit = self.code >= self.range;
            if bit {
                self.code -= self.range;
            }
            bits = bits << 1 | u64::from(bit);
            self.normalise();
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers in prop::collection::vec((0u64..1 << 63, 0u32..63), 0..300)) {
            let numbers: Vec<u64> = numbers.into_iter().map(|(n, shift)| n >> shift).collect();
            let (mut writer, mut model) = (Writer::new(), Model::default());
            for number in &numbers {
                writer.number(&mut model, *number);
            }
            let bytes = writer.finish();
            let (mut reader, mut model) = (NumberReader::new(&bytes), Model::default());
            for number in &numbers {
                prop_assert_eq!(reader.number(&mut model), Ok(*number));
            }
        }

        #[test]
        fn symbols_come_back_between_numbers(symbols in prop::collection::vec(0u8..8, 0..300)) {
            let (mut writer, mut model, mut few) = (Writer::new(), Model::default(), Symbols::<8>::default());
            for symbol in &symbols {
                writer.symbol(&mut few, *symbol);
                writer.number(&mut model, u64::from(*symbol) << 40);
            }
            let bytes = writer.finish();
            let (mut reader, mut model, mut few) = (NumberReader::new(&bytes), Model::default(), Symbols::<8>::default());
            for symbol in &symbols {
                prop_assert_eq!(reader.symbol(&mut few), Ok(*symbol));
                prop_assert_eq!(reader.number(&mut model), Ok(u64::from(*symbol) << 40));
            }
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let (mut reader, mut model) = (NumberReader::new(&bytes), Model::default());
            let read = (0..1_000_000).take_while(|_| reader.number(&mut model).is_ok()).count();
            prop_assert!(read < 1_000_000);
        }
    }

    #[test]
    fn like_numbers_cost_little() {
        let (mut writer, mut model) = (Writer::new(), Model::default());
        for n in 0..1000u64 {
            writer.number(&mut model, n * 7919 % 16);
        }
        let len = writer.finish().len();
        assert!(len < 620, "{len} B for 1000 numbers below 16");
    }
}
