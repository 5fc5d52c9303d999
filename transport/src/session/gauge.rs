/// Batches that wait and batches under way, and their raw bytes: of a class or of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gauge {
    pub(crate) queued_batches: u64,
    pub(crate) queued_bytes: u64,
    pub(crate) unacked_batches: u64,
    pub(crate) unacked_bytes: u64,
}

impl Gauge {
    pub(crate) fn enqueue(&mut self, bytes: u64) {
        self.queued_batches += 1;
        self.queued_bytes += bytes;
    }

    pub(crate) fn send(&mut self, bytes: u64) {
        self.queued_batches -= 1;
        self.queued_bytes -= bytes;
        self.unacked_batches += 1;
        self.unacked_bytes += bytes;
    }

    pub(crate) fn send_failed(&mut self, bytes: u64) {
        self.ack(bytes);
        self.enqueue(bytes);
    }

    pub(crate) fn ack(&mut self, bytes: u64) {
        self.unacked_batches -= 1;
        self.unacked_bytes -= bytes;
    }
}
