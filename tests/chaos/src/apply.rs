//! Does to a cluster what a plan says.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use strait_tests::eventually;

use crate::client::Stage;
use crate::cluster::Cluster;
use crate::damage;
use crate::history::End;
use crate::message::say;
use crate::plan::{Fault, Step};

/// How long clients write at a site that is alone, and at one that was just rebuilt.
const ALONE: Duration = Duration::from_millis(700);

impl Cluster {
    /// Lets clients write for a while, and then does it.
    pub(crate) fn apply(&mut self, stage: &Stage, step: Step, random: &mut StdRng) {
        sleep(Duration::from_millis(step.pause_ms));
        match step.fault {
            Fault::Calm => {}
            Fault::Stop { site, down_ms } => self.stop(stage, site, down_ms),
            Fault::Kill { site, down_ms } => {
                self.kill(stage, site, End::Killed);
                self.start_after(stage, site, down_ms);
            }
            Fault::KillAll { down_ms } => self.kill_all(stage, down_ms),
            Fault::PowerCut {
                site,
                lives_ms,
                down_ms,
            } => {
                self.cut_power(stage, site, lives_ms);
                self.start_after(stage, site, down_ms);
            }
            Fault::Freeze { site, ms } => {
                self.members[site].site.signal("STOP");
                sleep(Duration::from_millis(ms));
                self.members[site].site.signal("CONT");
            }
            Fault::FreezeAndKill { site, ms } => {
                self.members[site].site.signal("STOP");
                sleep(Duration::from_millis(ms));
                self.kill(stage, site, End::Killed);
                self.start(stage, site);
            }
            Fault::Cut { link, there, back } => self.links[link].relay.cut(there, back),
            Fault::BlockUdp { link } => self.links[link].relay.block_udp(),
            Fault::Lossy { link, percent } => {
                self.links[link].relay.set_loss(f64::from(percent) / 100.0);
            }
            Fault::Heal => self.heal(),
            Fault::Clock { site, ahead_s } => self.set_clock(site, ahead_s),
            Fault::FullDisk { site, ms, kill } => self.fill_disk(stage, site, ms, kill),
            Fault::Flip { site, bits, alone } => {
                let seed = random.random();
                self.flip(stage, site, bits, alone, &mut StdRng::seed_from_u64(seed));
            }
            Fault::Burn { site, settled } => self.burn(stage, site, settled),
        }
    }

    fn start_after(&mut self, stage: &Stage, site: usize, down_ms: u64) {
        sleep(Duration::from_millis(down_ms));
        self.start(stage, site);
    }

    pub(crate) fn stop(&mut self, stage: &Stage, site: usize, down_ms: u64) {
        self.dies(stage, site, End::Stopped);
        stage.targets[site].open.store(false, Ordering::SeqCst);
        let exit = self.members[site].site.stop();
        assert!(exit.status.success(), "SIGTERM ended with {}", exit.status);
        self.start_after(stage, site, down_ms);
    }

    fn kill_all(&mut self, stage: &Stage, down_ms: u64) {
        for site in 0..self.members.len() {
            self.kill(stage, site, End::Killed);
        }
        sleep(Duration::from_millis(down_ms));
        for site in 0..self.members.len() {
            self.start(stage, site);
        }
    }

    /// Without a disk of its own the site is killed only.
    fn cut_power(&mut self, stage: &Stage, site: usize, lives_ms: u64) {
        if let Some(disk) = &self.members[site].disk
            && lives_ms > 0
        {
            // An fsync that ext4 is in the middle of may say that all went well.
            self.members[site].site.freeze();
            disk.cut_power();
            self.members[site].site.signal("CONT");
            sleep(Duration::from_millis(lives_ms));
        }
        self.kill(stage, site, End::Killed);
        if let Some(disk) = &mut self.members[site].disk {
            if lives_ms == 0 {
                disk.cut_power();
            }
            disk.restore_power();
        }
    }

    fn set_clock(&self, site: usize, ahead_s: i64) {
        if let Some(clock) = &self.members[site].clock {
            clock.set_ahead(ahead_s);
        }
    }

    fn fill_disk(&mut self, stage: &Stage, site: usize, ms: u64, kill: bool) {
        let Some(disk) = &self.members[site].disk else {
            return;
        };
        disk.fill();
        sleep(Duration::from_millis(ms));
        if kill {
            self.kill(stage, site, End::Killed);
            self.start(stage, site);
            sleep(Duration::from_millis(ms));
        }
        if let Some(disk) = &self.members[site].disk {
            disk.empty();
        }
        self.await_writable(stage, site);
    }

    /// Its peers hold all by then. What was damaged comes back from them, or nobody gets a short
    /// answer for a whole one.
    fn flip(&mut self, stage: &Stage, site: usize, bits: u32, alone: bool, random: &mut StdRng) {
        self.heal();
        let silence = stage.silence();
        self.settle(stage, site);
        let target = &stage.targets[site];
        target.whole.store(false, Ordering::SeqCst);
        target.losses.fetch_add(1, Ordering::SeqCst);
        self.kill(stage, site, End::Flipped);
        let data = self.members[site].site.data();
        for place in damage::flip(&data, bits, random) {
            say(&format!("      flipped a bit: {place}"));
        }
        if alone {
            self.isolate(site);
        }
        drop(silence);
        self.start(stage, site);
        sleep(ALONE);
        self.heal();
        self.mend(stage, site);
        stage.targets[site].whole.store(true, Ordering::SeqCst);
    }

    fn isolate(&self, site: usize) {
        for link in &self.links {
            if link.ends.0 == site || link.ends.1 == site {
                link.relay.cut(true, true);
            }
        }
    }

    /// Compares with all peers until nothing is wrong any more. Clients are silent.
    fn mend(&self, stage: &Stage, site: usize) {
        let _silence = stage.silence();
        for peer in self.peers(site) {
            let peer = &self.members[peer].site.name;
            let what = format!("{} and {peer} hold the same", self.members[site].site.name);
            eventually(&what, 90, || {
                let verify = ["verify", peer, "--wait", "30"];
                self.members[site]
                    .site
                    .strait(&verify)
                    .status
                    .success()
                    .then_some(())
            });
        }
    }

    /// As docs/OPERATING.md says under "The data directory is lost".
    fn burn(&mut self, stage: &Stage, site: usize, settled: bool) {
        self.heal();
        if settled {
            self.settle(stage, site);
        }
        let target = &stage.targets[site];
        target.whole.store(false, Ordering::SeqCst);
        target.losses.fetch_add(1, Ordering::SeqCst);
        self.kill(stage, site, End::Burnt);
        let data = self.members[site].site.data();
        std::fs::remove_dir_all(data).expect("the data directory can be removed");
        self.members[site].site.init();
        self.configure(site);
        for link in &self.links {
            let (dialer, answerer) = link.ends;
            if dialer == site || answerer == site {
                self.pair(link, site);
                let peer = if dialer == site { answerer } else { dialer };
                self.members[peer]
                    .site
                    .replace_pair(&self.members[site].site);
            }
        }
        self.launch(stage, site);
        for peer in self.peers(site) {
            let peer = self.members[peer].site.name.clone();
            self.members[site].site.must(&["replay", "--from", &peer]);
        }
        stage.targets[site].open.store(true, Ordering::SeqCst);
        stage.targets[site].whole.store(true, Ordering::SeqCst);
    }
}
