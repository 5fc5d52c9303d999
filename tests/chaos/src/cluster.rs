//! The sites of a round with their disks, clocks and links, and what can be done to them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use strait_tests::{Clock, Site, eventually};

use crate::client::{Stage, Target};
use crate::disk::Disk;
use crate::files::Place;
use crate::history::{Class, Death, End, Settled};
use crate::message::say;
use crate::plan::Plan;
use crate::relay::{Relay, Weather};

/// What the harness itself counts; no client does.
const OWN_KEY: &str = "harness";
/// How long a gateway may take from its start until it serves clients.
const START_S: u64 = 60;
const NAMES: [&str; 3] = ["east", "west", "north"];

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) site: Site,
    pub(crate) disk: Option<Disk>,
    pub(crate) clock: Option<Clock>,
    home: PathBuf,
}

/// A link: the first site dials the second through the relay.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) ends: (usize, usize),
    pub(crate) relay: Relay,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    pub(crate) links: Vec<Link>,
    pub(crate) settled: Mutex<Vec<Settled>>,
    pub(crate) deaths: Mutex<Vec<Death>>,
    settings: Vec<(&'static str, String)>,
    /// The gateway of each site's first life.
    before: Option<PathBuf>,
}

impl Cluster {
    /// Makes all sites of a plan below a folder, and joins them. None is started.
    pub(crate) fn new(plan: &Plan, folder: &Path) -> Self {
        let members = NAMES[..plan.sites()].iter();
        let members: Vec<_> = members
            .map(|name| Member::new(name, &folder.join(name), plan))
            .collect();
        let links = plan.links().into_iter().zip(0..).map(|(ends, n)| {
            let weather = Weather {
                delay: Duration::from_millis(plan.delay_ms),
                loss: plan.loss_percent / 100.0,
                seed: plan.seed + n,
            };
            let relay = Relay::to(members[ends.1].site.link, weather);
            Link { ends, relay }
        });
        let links = links.collect();
        let cluster = Self {
            members,
            links,
            settled: Mutex::default(),
            deaths: Mutex::default(),
            settings: settings(plan),
            before: plan.before.clone(),
        };
        for site in 0..cluster.members.len() {
            cluster.configure(site);
        }
        for link in &cluster.links {
            cluster.pair(link, link.ends.0);
            cluster.pair(link, link.ends.1);
        }
        cluster
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        let members = self.members.iter().enumerate();
        let targets = members.map(|(index, member)| Target {
            index,
            grid: member.site.grid,
            life: 0.into(),
            open: false.into(),
            whole: true.into(),
            losses: 0.into(),
        });
        targets.collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.members
            .iter()
            .map(|member| member.site.name.clone())
            .collect()
    }

    pub(crate) fn places(&self) -> Vec<Place> {
        let places = self.members.iter().map(|member| Place {
            name: member.site.name.clone(),
            data: member.site.data(),
        });
        places.collect()
    }

    /// Sites that a site has a link to.
    pub(crate) fn peers(&self, site: usize) -> Vec<usize> {
        let ends = self.links.iter().map(|link| link.ends);
        let peers = ends.filter_map(|(dialer, answerer)| match site {
            _ if site == dialer => Some(answerer),
            _ if site == answerer => Some(dialer),
            _ => None,
        });
        peers.collect()
    }

    /// Has `strait.toml` of a new directory say what the plan wants.
    pub(crate) fn configure(&self, site: usize) {
        for (line, new) in &self.settings {
            self.members[site].site.change_config(line, new);
        }
    }

    /// Has one end of a link trust the other.
    pub(crate) fn pair(&self, link: &Link, site: usize) {
        let (dialer, answerer) = link.ends;
        let [dialer, answerer] = [dialer, answerer].map(|end| &self.members[end].site);
        if site == link.ends.0 {
            dialer.pair_with(answerer, Some(link.relay.address()));
        } else {
            answerer.pair_with(dialer, None);
        }
    }

    /// Starts a site's gateway, which has to serve clients in the end, and lets clients come.
    pub(crate) fn start(&mut self, stage: &Stage, site: usize) {
        self.launch(stage, site);
        stage.targets[site].open.store(true, Ordering::SeqCst);
    }

    /// Starts a site's gateway, which has to serve its clients in the end; none comes yet.
    pub(crate) fn launch(&mut self, stage: &Stage, site: usize) {
        let target = &stage.targets[site];
        let first = target.life.fetch_add(1, Ordering::SeqCst) == 0;
        let member = &mut self.members[site].site;
        member.set_gateway(self.before.clone().filter(|_| first));
        member.launch();
        let begun = Instant::now();
        loop {
            member.assert_runs();
            let client = redis::Client::open(format!("redis://{}/", member.grid));
            let connected = client.and_then(|client| {
                let mut redis = client.get_connection_with_timeout(Duration::from_secs(2))?;
                redis.set_read_timeout(Some(Duration::from_secs(2)))?;
                redis::cmd("PING").query::<String>(&mut redis)
            });
            if connected.is_ok() {
                return;
            }
            let took = begun.elapsed().as_secs();
            assert!(
                took < START_S,
                "{} serves nobody after {took} s",
                member.name
            );
            sleep(Duration::from_millis(30));
        }
    }

    /// Every site runs the binary under test from now on.
    pub(crate) fn upgrade(&mut self, stage: &Stage) {
        for site in 0..self.members.len() {
            if self.before.is_some() && stage.targets[site].life().number == 1 {
                self.stop(stage, site, 0);
            }
        }
    }

    /// Notes how a life ends, right before it does. Clients may go on until they notice.
    pub(crate) fn dies(&self, stage: &Stage, site: usize, how: End) {
        let life = stage.targets[site].life();
        let at = stage.now();
        lock(&self.deaths).push(Death { life, at, how });
    }

    /// Ends a gateway with SIGKILL.
    pub(crate) fn kill(&mut self, stage: &Stage, site: usize, how: End) {
        self.dies(stage, site, how);
        stage.targets[site].open.store(false, Ordering::SeqCst);
        self.members[site].site.kill();
    }

    /// Waits until a peer holds all that was confirmed at the site until now.
    pub(crate) fn settle(&self, stage: &Stage, site: usize) {
        let target = &stage.targets[site];
        let what = format!("a peer holds all of {}", self.members[site].site.name);
        eventually(&what, 60, || {
            let (mut redis, life) = target.connect()?;
            redis::cmd("INCR")
                .arg(OWN_KEY)
                .query::<i64>(&mut redis)
                .ok()?;
            let at = stage.now();
            let held = redis::cmd("WAIT").arg(1).arg(2000).query::<i64>(&mut redis);
            let class = Class::Remote;
            (held.ok()? >= 1).then(|| lock(&self.settled).push(Settled { life, at, class }))
        });
    }

    /// Waits until a site takes writes.
    pub(crate) fn await_writable(&self, stage: &Stage, site: usize) {
        let what = format!("{} takes writes again", self.members[site].site.name);
        eventually(&what, 60, || {
            let (mut redis, _) = stage.targets[site].connect()?;
            redis::cmd("INCR")
                .arg(OWN_KEY)
                .query::<i64>(&mut redis)
                .ok()
        });
    }

    pub(crate) fn heal(&self) {
        for link in &self.links {
            link.relay.heal();
        }
    }

    /// Copies data directories out of disks that are about to go.
    pub(crate) fn keep(&self) {
        for member in self.members.iter().filter(|member| member.disk.is_some()) {
            let kept = member.home.join("data");
            let mut copy = std::process::Command::new("cp");
            // A disk without power gives nothing; its image is there.
            drop(copy.arg("-a").arg(member.site.data()).arg(kept).status());
        }
    }
}

impl Member {
    fn new(name: &str, home: &Path, plan: &Plan) -> Self {
        fs::create_dir_all(home).expect("a folder for a site");
        let disk = Disk::new(home, plan.ordered);
        let data = match &disk {
            Some(disk) => disk.folder().join("data"),
            None => home.join("data"),
        };
        let mut site = Site::in_folder(name, home, &data);
        let clock = plan.sets_clocks().then(|| Clock::of(&mut site)).flatten();
        let home = home.to_owned();
        Self {
            site,
            disk,
            clock,
            home,
        }
    }
}

/// Lines of `strait.toml` that are not as by default.
fn settings(plan: &Plan) -> Vec<(&'static str, String)> {
    let classes = "durability_of = [[\"disk:*\", \"disk\"], [\"remote:*\", \"remote\"]]";
    let history = format!("disk_bytes_max = \"{}MiB\"", 128 * (plan.sites() - 1));
    let flush = format!("flush_ms = {}", plan.flush_ms);
    let compare = format!("compare_min = {}", plan.compare_min);
    let mut settings = vec![
        ("durability_of = []", classes),
        ("flush_ms = 50", &flush),
        ("compare_min = 60", &compare),
        (
            "memory_bytes_max = \"256MiB\"",
            "memory_bytes_max = \"64MiB\"",
        ),
        ("disk_bytes_max = \"4GiB\"", &history),
    ];
    if plan.spill {
        settings.extend([
            ("on_full = \"refuse\"", "on_full = \"spill\""),
            ("memory_bytes_max = \"1GiB\"", "memory_bytes_max = \"8MiB\""),
            (
                "logs_memory_bytes_max = \"512MiB\"",
                "logs_memory_bytes_max = \"1MiB\"",
            ),
        ]);
    }
    settings
        .into_iter()
        .map(|(line, new)| (line, new.to_owned()))
        .collect()
}

/// Says what a machine without root leaves out.
pub(crate) fn say_skipped() {
    if !geteuid().is_root() {
        say("SKIPPED: power cuts and full disks need root");
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
