//! Plays one plan from the first start to the last comparison.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use strait_tests::{Site, eventually_all_equal};

use crate::check;
use crate::client::{Client, Stage, Told};
use crate::cluster::{Cluster, lock, say_skipped};
use crate::files;
use crate::history::{Class, End, History};
use crate::message::say;
use crate::plan::Plan;
use crate::reader::Reader;
use crate::state::State;

/// `grid.loss_window_ms`, and time in which this machine may have been busy elsewhere.
const WINDOW: Duration = Duration::from_millis(1000 + 500);
/// How long sites may take to be in step once all is well.
const IN_STEP_S: u64 = 120;
/// Lines of a log that no gateway may ever write.
const NEVER: [&str; 3] = ["panicked", "has panicked", "broke down"];

/// Done to a site behind the checker's back when all have written: the checker must notice.
pub type Tamper<'a> = &'a dyn Fn(&[&Site]);

/// What a round came to.
#[derive(Debug)]
pub struct Played {
    /// What does not hold.
    pub violations: Vec<String>,
    pub writes: usize,
    pub confirmed: usize,
    pub reads: usize,
    pub files: usize,
}

/// Plays a plan in a folder of its own and says what it came to; whether all holds. If not, or if
/// told to, the folder stays.
pub fn hold(plan: &Plan, keep: bool) -> bool {
    let folder = tempfile::Builder::new()
        .prefix("strait-chaos-")
        .disable_cleanup(true)
        .tempdir();
    let folder = folder.expect("a temporary folder").keep();
    say(&plan.to_string());
    let begun = Instant::now();
    let played = play(plan, &folder, &|_| {});
    say(&played.summary(plan, begun.elapsed()));
    let holds = played.violations.is_empty();
    if holds && !keep {
        std::fs::remove_dir_all(&folder).expect("the round's folder can be removed");
    } else {
        say(&format!("directories and logs: {}", folder.display()));
    }
    holds
}

/// Plays a plan below a folder, which stays.
pub fn play(plan: &Plan, folder: &Path, tamper: Tamper<'_>) -> Played {
    say_skipped();
    let mut cluster = Cluster::new(plan, folder);
    let mut history = History {
        sites: cluster.names(),
        window: WINDOW,
        ..History::default()
    };
    let played = catch_unwind(AssertUnwindSafe(|| {
        run(plan, folder, &mut cluster, &mut history)
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        finish(plan, &mut cluster, &history, tamper)
    }));
    let mut violations = played.unwrap_or_else(|panic| vec![text_of(panic.as_ref())]);
    violations.extend(panics(&cluster));
    if !violations.is_empty() {
        cluster.keep();
    }
    Played {
        violations,
        writes: history.writes().count(),
        confirmed: history
            .writes()
            .filter(|write| write.confirmed.is_some())
            .count(),
        reads: history.reads.len(),
        files: history.pushed.len(),
    }
}

impl Played {
    fn summary(&self, plan: &Plan, took: Duration) -> String {
        let Self {
            violations,
            writes,
            confirmed,
            reads,
            files,
        } = self;
        let mut text = format!(
            "seed {}: {confirmed} of {writes} writes confirmed, {reads} reads, {files} files, {:.0} s: ",
            plan.seed,
            took.as_secs_f64()
        );
        if violations.is_empty() {
            return text + "all holds";
        }
        text += &format!("FAILED\n{plan}");
        for violation in violations {
            text += &format!("  {violation}\n");
        }
        text
    }
}

/// Tells all threads to stop, also when the harness panics.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Starts everything, and has clients write while the plan's faults come one after the other. An
/// error is a panic of the harness; what clients were told until then is in the history.
fn run(
    plan: &Plan,
    folder: &Path,
    cluster: &mut Cluster,
    history: &mut History,
) -> std::thread::Result<()> {
    let stage = Stage {
        targets: cluster.targets(),
        begun: Instant::now(),
        gate: Default::default(),
        stop: false.into(),
        line_bytes_max: plan.line_bytes_max,
    };
    for site in 0..cluster.members.len() {
        cluster.start(&stage, site);
    }
    let (names, places, links) = (cluster.names(), cluster.places(), plan.links());
    let random = |thread: u64| StdRng::seed_from_u64(plan.seed << 8 | thread);
    let done = std::thread::scope(|scope| {
        let stop = StopAtEnd(&stage.stop);
        let (stage, names) = (&stage, &names);
        let mut clients = Vec::new();
        let mut readers = Vec::new();
        for site in 0..names.len() {
            for class in Class::ALL {
                let random = random((site * Class::ALL.len()) as u64 + class as u64);
                clients.push(scope.spawn(move || Client::new(stage, site, class, random).run()));
            }
            let reader = Reader::new(stage, site, names, random(100 + site as u64));
            readers.push(scope.spawn(move || reader.run()));
        }
        let pusher = scope.spawn(|| files::push_on(stage, &places, &links, folder, random(200)));
        let faults = AssertUnwindSafe(|| faults(plan, cluster, stage, &mut random(255)));
        let done = catch_unwind(faults);
        drop(stop);
        for client in clients {
            take(history, client.join().expect("a client"));
        }
        for reader in readers {
            history.reads.extend(reader.join().expect("a reader"));
        }
        history.pushed = pusher.join().expect("a pusher");
        done
    });
    history.settled.append(&mut lock(&cluster.settled));
    history.deaths.append(&mut lock(&cluster.deaths));
    done
}

fn faults(plan: &Plan, cluster: &mut Cluster, stage: &Stage, random: &mut StdRng) {
    for (n, step) in plan.steps.iter().enumerate() {
        say(&format!(
            "  {:5.1} s  {n:2}  {:?}",
            stage.now().as_secs_f64(),
            step.fault
        ));
        cluster.apply(stage, *step, random);
    }
    std::thread::sleep(Duration::from_millis(500));
    cluster.upgrade(stage);
}

fn take(history: &mut History, told: Told) {
    history.clients.push(told.writes);
    history.settled.extend(told.settled);
    history.registers.extend(told.registers);
    history.wrong.extend(told.wrong);
}

/// With all well again: in step, proved, as promised, and the same after another kill.
fn finish(
    plan: &Plan,
    cluster: &mut Cluster,
    history: &History,
    tamper: Tamper<'_>,
) -> Vec<String> {
    cluster.heal();
    tamper(
        &cluster
            .members
            .iter()
            .map(|member| &member.site)
            .collect::<Vec<_>>(),
    );
    let mut violations = Vec::new();
    violations.extend(in_step(cluster).err());
    violations.extend(verify(cluster));
    let before = states(plan, cluster, history);
    violations.extend(check::check(history, &before));
    violations.extend(files_there(cluster, history));
    for member in &mut cluster.members {
        member.site.kill();
    }
    for member in &mut cluster.members {
        member.site.start();
    }
    violations.extend(in_step(cluster).err());
    if states(plan, cluster, history) != before {
        violations.push("after another kill -9 of all the sites hold something else".to_owned());
    }
    violations
}

/// Waits until all digests are equal; what went wrong otherwise.
fn in_step(cluster: &Cluster) -> Result<(), String> {
    let sites: Vec<_> = cluster.members.iter().map(|member| &member.site).collect();
    let equal = catch_unwind(AssertUnwindSafe(|| eventually_all_equal(&sites, IN_STEP_S)));
    equal.map(drop).map_err(|panic| text_of(panic.as_ref()))
}

/// `strait verify` of every site with each of its peers.
fn verify(cluster: &Cluster) -> Vec<String> {
    let mut wrong = Vec::new();
    for (site, member) in cluster.members.iter().enumerate() {
        for peer in cluster.peers(site) {
            let peer = &cluster.members[peer].site.name;
            let verify = member.site.strait(&["verify", peer]);
            if !verify.status.success() {
                let said = [verify.stdout, verify.stderr].concat();
                let said = String::from_utf8_lossy(&said).into_owned();
                wrong.push(format!(
                    "strait verify {peer} at {}: {said}",
                    member.site.name
                ));
            }
        }
    }
    wrong
}

fn states(plan: &Plan, cluster: &Cluster, history: &History) -> Vec<State> {
    let members = cluster.members.iter().enumerate();
    let states = members.map(|(site, member)| {
        let mut redis = member.site.redis();
        let state = State::read(&mut redis, site, history, plan.line_bytes_max);
        state.unwrap_or_else(|error| panic!("{} cannot be read: {error}", member.site.name))
    });
    states.collect()
}

/// Files whose push exited with 0, at sites that have not lost their directory since.
fn files_there(cluster: &Cluster, history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    for pushed in &history.pushed {
        let burnt = history.deaths.iter().any(|death| {
            death.how == End::Burnt && death.life.site == pushed.to && death.at >= pushed.at
        });
        let site = &cluster.members[pushed.to].site;
        let folder = site.data().join("bulk");
        let folder = folder.join(&cluster.members[pushed.from].site.name);
        let file = std::fs::read(folder.join(&pushed.name));
        if !burnt && file.as_ref().ok() != Some(&pushed.bytes) {
            let found = file.map(|bytes| bytes.len());
            let length = pushed.bytes.len();
            wrong.push(format!(
                "{} at {}: {found:?}, {length} B pushed",
                pushed.name, site.name
            ));
        }
    }
    wrong
}

/// Lines that speak of a mistake in a gateway.
fn panics(cluster: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    for member in &cluster.members {
        let log = member.site.log_text();
        let lines = log
            .lines()
            .filter(|line| NEVER.iter().any(|never| line.contains(never)));
        found.extend(
            lines
                .take(3)
                .map(|line| format!("log of {}: {line}", member.site.name)),
        );
    }
    found
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "the harness panicked".to_owned())
}
