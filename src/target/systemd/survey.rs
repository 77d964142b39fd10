//! Preflight: every obstacle that can be known beforehand. Touches nothing.

use std::path::Path;

use tokio::time::{Instant, sleep};

use super::SystemdTarget;
use super::delivery::not_writable;
use super::evidence::POLL;
use super::template::is_template;
use crate::config::Activate;
use crate::dbus::unit::UnitStatus;
use crate::helper::{Answer, Condition, Program, Question};
use crate::record::{Found, Handover};
use crate::rotation::{Fault, FaultCode};
use crate::sys::files;
use crate::target::{Disclosed, Health};

/// A view, a drop-in and the records of a rotation take a fraction of this.
const ROOM: u64 = 1 << 20;
/// systemd refuses a daemon-reload where /run has less.
const ROOM_TO_RELOAD: u64 = 16 << 20;

/// One look at all units of a target.
pub(super) struct Survey<'a> {
    pub target: &'a SystemdTarget,
    pub in_force: &'a Disclosed<'a>,
    pub health: Health,
    pub deadline: Instant,
}

impl Survey<'_> {
    pub(super) async fn units(&self) -> Result<Vec<Found>, Fault> {
        if self.target.delivers {
            self.target.check_places()?;
            self.target.check_representable(self.in_force)?;
            if self.health == Health::Needed {
                self.target.in_place().check_delivered()?;
            }
        }
        let mut found = Vec::new();
        for unit in &self.target.units {
            if is_template(unit) {
                self.template(unit, &mut found).await?;
            } else {
                found.push(self.unit(unit, unit).await?);
            }
        }
        Ok(found)
    }

    /// The instances of a template that run; where there is none, the template itself, as one that is stopped.
    async fn template(&self, template: &str, found: &mut Vec<Found>) -> Result<(), Fault> {
        let mut running = 0;
        for name in self.target.loaded_as(template).await? {
            let instance = self.unit(template, &name).await?;
            if instance.running {
                found.push(instance);
                running += 1;
            }
        }
        if running == 0 {
            let (configured, unit) = (template.to_owned(), template.to_owned());
            found.push(Found { configured, unit, ..Found::default() });
        }
        Ok(())
    }

    async fn unit(&self, configured: &str, unit: &str) -> Result<Found, Fault> {
        let target = self.target;
        let status = target.steady(unit, self.deadline).await?;
        let mut sick = None;
        let running = match is_running(&status) {
            // It may be at work, and is not waited for.
            _ if target.activate == Activate::None
                && status.active_state == "activating"
                && !status.restarts_itself() =>
            {
                true
            }
            Err(_) if self.health == Health::Irrelevant => {
                sick = Some(Found::sick(status.in_words()));
                true
            }
            // What keeps an instance that nobody needs from starting is no obstacle to the others.
            Err(fault) if is_template(configured) && fault.code == FaultCode::ConditionFails => false,
            running => running?,
        };
        if running {
            target.check_programs_and_conditions(&status).await?;
        }
        if target.delivers {
            target.check_overridden(unit, &status, &target.way).await?;
            target.check_unloaded_drop_ins(configured, unit, &status).await?;
        }
        if running && target.activate == Activate::Restart && status.refuses_restart {
            let message = format!("{unit} refuses to be restarted: RefuseManualStart= or RefuseManualStop= is set");
            return Err(Fault::new(FaultCode::UnitUnusable, message)
                .advise(format!("take that out; systemctl cat {unit} shows where it is")));
        }
        if running && target.activate == Activate::Reload && !status.can_reload {
            let message = format!("{unit} cannot be reloaded, as `activate = \"reload\"` wants it");
            return Err(Fault::new(FaultCode::UnitUnusable, message)
                .advise("give it an ExecReload=, or take `activate = \"restart\"`"));
        }
        // Processes that were there before a reload keep the value that they were started with.
        let mut processes = None;
        if running && target.activate == Activate::Restart && self.health == Health::Needed {
            processes = Some(target.in_place().check_drift((configured, &status), self.in_force, self.deadline).await?);
        }
        let restarts = running && target.activate != Activate::None;
        let dependents = if restarts { target.systemd.active_dependents(&status).await? } else { Vec::new() };
        let left_alone = target.activate == Activate::None;
        // What goes on as it is, now or when a value is retired, must be told from what is started later.
        let run = (left_alone || target.keeps_retired).then(|| Found::of_run(status.invocation_id.clone()));
        let details = run.into_iter().chain(sick).collect();
        let dependents = dependents.into_iter().filter(|unit| !target.units.contains(unit)).collect();
        let sockets = status.triggered_by.into_iter().filter(|unit| unit.ends_with(".socket")).collect();
        let (configured, unit, start_us) = (configured.to_owned(), status.id, status.start_us);
        let handover = if target.activate == Activate::Reload { Handover::Reload } else { Handover::Break };
        let together = (target.max_unavailable > 1).then_some(target.max_unavailable);
        Ok(Found {
            configured,
            unit,
            running,
            left_alone,
            dependents,
            processes,
            start_us,
            sockets,
            handover,
            together,
            bystanders: Vec::new(),
            passing: Vec::new(),
            details,
        })
    }
}

impl SystemdTarget {
    fn check_places(&self) -> Result<(), Fault> {
        for unit in &self.units {
            files::writable(&self.drop_in(unit)).map_err(not_writable)?;
            room(&self.drop_in(unit), ROOM)?;
        }
        files::writable(&self.root().join("current")).map_err(not_writable)?;
        room(&self.root(), ROOM)?;
        room(Path::new("/run/systemd/x"), ROOM_TO_RELOAD)
    }

    /// The unit, once nothing is going on with it: booting, starting and stopping are waited for.
    async fn steady(&self, unit: &str, deadline: Instant) -> Result<UnitStatus, Fault> {
        loop {
            let status = self.systemd.unit(unit).await?;
            if status.load_state != "loaded" {
                return Err(unusable(unit, &status));
            }
            let moving =
                matches!(status.active_state.as_str(), "activating" | "deactivating" | "reloading" | "maintenance");
            // A job of a timer's is "activating" for as long as it works.
            let works = self.activate == Activate::None && status.active_state == "activating";
            if works || status.restarts_itself() || !(moving || status.has_job) {
                return Ok(status);
            }
            if Instant::now() + POLL >= deadline {
                let message = format!("{} and has been so for as long as a rotation may take", status.in_words());
                return Err(Fault::new(FaultCode::UnitSick, message).advise(format!("systemctl status {unit}")));
            }
            sleep(POLL).await;
        }
    }

    async fn check_programs_and_conditions(&self, status: &UnitStatus) -> Result<(), Fault> {
        let mut questions = Vec::new();
        if !status.has_own_files {
            let is_known = |path: &&String| path.contains('/') || status.exec_search_path.is_empty();
            let programs = status.programs.iter().filter(is_known);
            questions.extend(programs.map(|path| Question::Program { path: path.clone() }));
        }
        if status.has_conditions {
            questions.push(Question::Conditions { unit: status.id.clone() });
        }
        let answers = self.helper.ask(&questions).await?;
        for (question, answer) in questions.iter().zip(answers) {
            match (question, answer) {
                (Question::Program { path }, Answer::Program { program }) => check_program(&status.id, path, &program)?,
                (_, Answer::Condition { condition: Condition::Fails(which) }) => {
                    let message = format!("a condition of {} does not hold now: {which}", status.id);
                    return Err(Fault::new(FaultCode::ConditionFails, message)
                        .advise("a restart would leave it stopped; make the condition hold, or take it out"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the processes have the value that the records say. Where they do not, somebody changed it by hand, and
    /// it is not overwritten. How many they are.
    async fn check_drift(
        &self,
        (configured, status): (&str, &UnitStatus),
        in_force: &Disclosed<'_>,
        deadline: Instant,
    ) -> Result<u32, Fault> {
        let tally = self.tally(status, in_force).await?;
        if self.suffices(&tally) {
            return Ok(tally.of());
        }
        // A process that is just being started may not have its environment yet.
        let limit = deadline.min(Instant::now() + std::time::Duration::from_secs(2));
        match self.wait_for_value(&status.id, in_force, limit).await {
            // It was restarted, and says nothing of what it was given.
            Err(fault) if tally.has_left_over() => Err(fault),
            Err(fault) if matches!(fault.code, FaultCode::WrongValue | FaultCode::NoValue) => {
                self.explain(configured, status, fault).await.map(|()| tally.of())
            }
            waited => waited,
        }
    }
}

/// Whether it runs, or was stopped on purpose; a unit that is neither is sick.
fn is_running(status: &UnitStatus) -> Result<bool, Fault> {
    match status.active_state.as_str() {
        "active" => Ok(true),
        "inactive" if status.skipped_by_condition => {
            let message = format!("{}: a Condition= or Assert= kept it from starting", status.in_words());
            Err(Fault::new(FaultCode::ConditionFails, message).advise(format!("systemctl status {}", status.id)))
        }
        "inactive" if status.result == "success" => Ok(false),
        _ => Err(Fault::new(FaultCode::UnitSick, format!("{}: it is sick already", status.in_words()))
            .advise(format!("mend it first: journalctl -u {} -n 50", status.id))),
    }
}

fn unusable(unit: &str, status: &UnitStatus) -> Fault {
    let why = match status.load_state.as_str() {
        "not-found" => "there is no such unit".to_owned(),
        "masked" => "it is masked".to_owned(),
        other => format!("systemd cannot load it ({other}) {}", status.load_error).trim_end().to_owned(),
    };
    Fault::new(FaultCode::UnitUnusable, format!("{unit}: {why}")).advise(format!("systemctl status {unit}"))
}

fn check_program(unit: &str, path: &str, program: &Program) -> Result<(), Fault> {
    let why = match program {
        Program::Fine => return Ok(()),
        Program::Missing => "does not exist".to_owned(),
        Program::NotExecutable => "cannot be executed".to_owned(),
        Program::InterpreterMissing(interpreter) => format!("needs {interpreter}, which does not exist"),
    };
    Err(Fault::new(FaultCode::ProgramMissing, format!("{path}, a program of {unit}, {why}: it could not start again"))
        .advise("install it again, or mend the path in the unit"))
}

fn room(path: &Path, bytes: u64) -> Result<(), Fault> {
    let free = files::free_bytes(path).map_err(not_writable)?;
    if free >= bytes {
        return Ok(());
    }
    let message = format!("{} KiB are free at {}, and {} KiB are needed", free >> 10, path.display(), bytes >> 10);
    Err(Fault::new(FaultCode::NoSpace, message).advise("make room there"))
}
