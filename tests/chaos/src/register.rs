//! Counters that are set, deleted and added to by one client alone, so that each reply and the
//! value in the end can be foretold.

use rand::RngExt;
use rand::rngs::StdRng;
use redis::{Commands, Connection, RedisResult};

use crate::history::{Class, Register};

#[derive(Debug)]
pub(crate) struct Registers {
    site: usize,
    value: i64,
    done: Vec<Register>,
}

impl Registers {
    pub(crate) fn new(site: usize) -> Self {
        Self {
            site,
            value: 0,
            done: Vec::new(),
        }
    }

    fn key(&self) -> String {
        format!(
            "{}:register:{}:{}",
            Class::Remote.name(),
            self.site,
            self.done.len()
        )
    }

    /// One command. If nobody knows whether it was carried out, or still will be, the register is
    /// left as it is and the next one begins.
    pub(crate) fn act(
        &mut self,
        redis: &mut Connection,
        random: &mut StdRng,
        wrong: &mut Vec<String>,
    ) -> RedisResult<()> {
        let key = self.key();
        let amount = random.random_range(1..100);
        let (value, done) = match random.random_range(0..4) {
            0 => (amount, redis.set::<_, _, ()>(&key, amount)),
            1 => (0, redis.del::<_, ()>(&key)),
            _ => {
                let value = self.value + amount;
                let told = redis.incr::<_, _, i64>(&key, amount);
                if let Ok(told) = told
                    && told != value
                {
                    wrong.push(format!("{key}: {} plus {amount} gave {told}", self.value));
                }
                (value, told.map(drop))
            }
        };
        match done {
            Ok(()) => self.value = value,
            Err(_) => self.leave(value),
        }
        done
    }

    fn leave(&mut self, perhaps: i64) {
        let register = Register {
            key: self.key(),
            possible: vec![self.value, perhaps],
        };
        self.done.push(register);
        self.value = 0;
    }

    pub(crate) fn end(mut self) -> Vec<Register> {
        self.leave(self.value);
        self.done
    }
}
