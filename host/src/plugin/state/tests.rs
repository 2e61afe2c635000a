//! A role that adds up, and loses its instance on request.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::{Compiler, ComponentSource, Engine, FailurePolicy, Library, Limits};
use super::*;

/// Sums by group. The instance holds them in vain: they are in `Sums`, which is
/// lost with it.
struct Adder {
    settings: StepSettings,
    /// So many snapshots fail from now on.
    failing: AtomicU32,
}

type Sums = Mutex<BTreeMap<u32, i64>>;

enum Call {
    Add { group: u32, by: i64 },
    Release { groups: Vec<u32> },
}

const OLD_VERSION: u32 = 1;
const VERSION: u32 = 2;

fn state(sum: i64, version: u32) -> String {
    format!("{version} {sum}")
}

impl StatefulRole for Adder {
    type Guest = Sums;
    type Call = Call;

    fn settings(&self) -> &StepSettings {
        &self.settings
    }

    fn configure(&self, _sandbox: &mut Sandbox) -> Result<Sums, Failure> {
        Ok(Sums::default())
    }

    fn repeat(&self, sandbox: &mut Sandbox, sums: &Sums, call: &Call) -> Result<(), Failure> {
        match call {
            Call::Add { group, by } => *sums.lock().unwrap().entry(*group).or_default() += by,
            Call::Release { groups } => self.release(sandbox, sums, groups)?,
        }
        Ok(())
    }

    fn snapshot(&self, _sandbox: &mut Sandbox, sums: &Sums, groups: &[u32]) -> Result<States, Failure> {
        if self.failing.load(Ordering::Relaxed) > 0 {
            self.failing.fetch_sub(1, Ordering::Relaxed);
            return Err(Failure::Trapped("as asked for".to_owned()));
        }
        let mut states = States { offsets: vec![0], data: Vec::new() };
        for group in groups {
            let sum = sums.lock().unwrap().get(group).copied().unwrap_or_default();
            states.data.extend_from_slice(state(sum, VERSION).as_bytes());
            states.offsets.push(i32::try_from(states.data.len()).unwrap());
        }
        Ok(states)
    }

    fn restore(
        &self,
        _sandbox: &mut Sandbox,
        sums: &Sums,
        groups: &[u32],
        states: &States,
        version: u32,
    ) -> Result<(), Failure> {
        for (group, bounds) in groups.iter().zip(states.offsets.windows(2)) {
            let text = std::str::from_utf8(&states.data[bounds[0] as usize..bounds[1] as usize]).unwrap();
            let sum = text.strip_prefix(&format!("{version} ")).and_then(|sum| sum.parse().ok());
            sums.lock().unwrap().insert(*group, sum.ok_or_else(|| Failure::Invalid(format!("{version}: {text}")))?);
        }
        Ok(())
    }

    fn state_version(&self) -> u32 {
        VERSION
    }

    fn release(&self, _sandbox: &mut Sandbox, sums: &Sums, groups: &[u32]) -> Result<(), Failure> {
        sums.lock().unwrap().retain(|group, _| !groups.contains(group));
        Ok(())
    }

    fn released(groups: Vec<u32>) -> Call {
        Call::Release { groups }
    }
}

fn keeper() -> Keeper<Adder> {
    let folder = tempfile::tempdir().unwrap();
    let library = Library::new(Engine::new().unwrap(), folder.path().join("plugins"), Compiler::Here).unwrap();
    let source = ComponentSource::Builtin("identity".to_owned());
    let plugin = library.load(&source, None, &Limits::default()).unwrap();
    let settings = StepSettings {
        step: "step".to_owned(),
        config: serde_json::json!({}),
        limits: Limits::default(),
        on_failure: FailurePolicy::new(OnFailure::Isolate),
    };
    let seat = Seat::new(plugin, settings.step.clone(), settings.limits);
    Keeper::new(seat, Arc::new(Adder { settings, failing: AtomicU32::new(0) }))
}

fn add(keeper: &mut Keeper<Adder>, group: u32, by: i64) {
    let role = Arc::clone(keeper.role());
    let call = Call::Add { group, by };
    keeper.call(|sandbox, sums| role.repeat(sandbox, sums, &call)).unwrap();
    keeper.note(call, 10, &[group]);
}

fn sums(keeper: &mut Keeper<Adder>) -> Vec<(u32, i64)> {
    keeper.call(|_, sums| Ok(sums.lock().unwrap().iter().map(|(group, sum)| (*group, *sum)).collect())).unwrap()
}

#[test]
fn lost_instance_is_made_anew_of_base_and_journal() {
    let mut keeper = keeper();
    add(&mut keeper, 0, 1);
    add(&mut keeper, 3, 2);
    keeper.move_base().unwrap();
    add(&mut keeper, 0, 10);
    add(&mut keeper, 1, 5);
    keeper.release(vec![3]).unwrap();
    keeper.lose_instance();
    assert_eq!(sums(&mut keeper), [(0, 11), (1, 5)]);
    assert_eq!(keeper.state(3), Some(state(2, VERSION).as_bytes()), "the base has not moved");
    keeper.role().failing.store(1, Ordering::Relaxed);
    keeper.move_base().unwrap();
    keeper.lose_instance();
    assert_eq!(sums(&mut keeper), [(0, 11), (1, 5)]);
    let states: Vec<_> = (0..4).map(|group| keeper.state(group).is_some()).collect();
    assert_eq!(states, [true, true, false, false]);
}

#[test]
fn long_journal_asks_for_a_new_base() {
    let mut keeper = keeper();
    keeper.set_max_journal_bytes(20);
    add(&mut keeper, 0, 1);
    add(&mut keeper, 1, 1);
    assert!(!keeper.is_journal_long());
    add(&mut keeper, 0, 1);
    assert!(keeper.is_journal_long());
    assert!(keeper.fork().max_journal_bytes == 20 && !keeper.fork().is_journal_long());
    keeper.move_base().unwrap();
    assert!(!keeper.is_journal_long());
    assert_eq!(keeper.state(0), Some(state(2, VERSION).as_bytes()));
}

#[test]
fn regression_states_of_an_old_version_outlive_an_instance_that_is_lost_over_them() {
    let mut keeper = keeper();
    let old = |sum| Arc::from(state(sum, OLD_VERSION).as_bytes());
    keeper.role().failing.store(1, Ordering::Relaxed);
    keeper.load(vec![(0, old(7)), (2, old(9))], OLD_VERSION).unwrap();
    assert_eq!(keeper.state(0), Some(state(7, VERSION).as_bytes()));
    keeper.lose_instance();
    assert_eq!(sums(&mut keeper), [(0, 7), (2, 9)]);
}
