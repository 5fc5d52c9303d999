//! Lines of an access log in the combined format with a request id, made with a seed: what
//! repeats in real ones (clients, paths, agents) repeats, what does not (ids, sizes, times) does not.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// An endless log.
pub(crate) struct Lines {
    random: StdRng,
    clients: Vec<String>,
    agents: Vec<String>,
    paths: Vec<String>,
    ms: u64,
}

impl Lines {
    /// The same ones for the same seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut made = |count: usize, make: &mut dyn FnMut(&mut StdRng) -> String| {
            (0..count).map(|_| make(&mut random)).collect::<Vec<_>>()
        };
        let clients = made(4000, &mut |random| {
            let [a, b, c]: [u8; 3] = random.random();
            format!("{}.{a}.{b}.{c}", 11 + c % 180)
        });
        let agents = made(120, &mut |random| {
            let systems = [
                "Windows NT 10.0; Win64; x64",
                "Macintosh; Intel Mac OS X 10_15_7",
                "X11; Linux x86_64",
                "Linux; Android 14; Pixel 8",
            ];
            let system = systems[random.random_range(0..systems.len())];
            let version = random.random_range(90..139);
            format!(
                "Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/{version}.0.0.0 Safari/537.36"
            )
        });
        let paths = made(3000, &mut |random| {
            let rooms = [
                "catalogue",
                "basket",
                "account",
                "search",
                "static/img",
                "api/v2/stock",
            ];
            let room = rooms[random.random_range(0..rooms.len())];
            format!("/{room}/item-{:05}", random.random_range(0..100_000))
        });
        Self {
            random,
            clients,
            agents,
            paths,
            ms: 0,
        }
    }

    /// One of `list`, the first more often.
    fn pick<'a>(random: &mut StdRng, list: &'a [String]) -> &'a str {
        let rank = random.random::<f64>().powi(3) * list.len() as f64;
        &list[rank as usize]
    }
}

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let random = &mut self.random;
        self.ms += u64::from(random.random_range(0..3_u8) == 0);
        let (seconds, status) = (self.ms / 1000, random.random_range(0..100_u8));
        let status = match status {
            0..=88 => 200,
            89..=94 => 304,
            95..=98 => 404,
            _ => 500,
        };
        let client = Self::pick(random, &self.clients).to_owned();
        let path = Self::pick(random, &self.paths).to_owned();
        let referrer = Self::pick(random, &self.paths).to_owned();
        let agent = Self::pick(random, &self.agents);
        Some(format!(
            "{client} - - [21/Nov/2026:10:{:02}:{:02} +0000] \"GET {path} HTTP/1.1\" {status} {} \
             \"https://shop.example{referrer}\" \"{agent}\" {:012x} {}ms",
            seconds / 60 % 60,
            seconds % 60,
            random.random_range(200..60_000_u32),
            random.random::<u64>() >> 16,
            (random.random::<f64>().powi(4) * 900.0) as u64 + 1,
        ))
    }
}
