//! Whether systemd would start a unit with what was delivered. `NeedDaemonReload` does not tell: what is loaded is
//! compared with what is wanted.

use super::SystemdTarget;
use super::way::{Form, Way};
use crate::config::Deliver;
use crate::dbus::unit::UnitStatus;
use crate::helper::{Answer, Question, Variable};
use crate::rotation::{Fault, FaultCode};

impl SystemdTarget {
    /// Why a daemon-reload is needed before a restart takes up the view.
    pub(super) async fn why_reload(&self) -> Result<Option<String>, Fault> {
        if self.always_reload {
            return Ok(Some("the configuration says daemon-reload = \"always\"".to_owned()));
        }
        for unit in &self.units {
            if self.wanted_way(unit).deliver == Deliver::Environment {
                return Ok(Some(format!("the value is in the drop-in of {unit} itself")));
            }
            for name in self.loaded_as(unit).await? {
                let status = self.systemd.unit(&name).await?;
                if let Some(reason) = self.not_loaded(unit, &status) {
                    return Ok(Some(reason));
                }
            }
        }
        Ok(None)
    }

    /// What of our drop-in systemd has not loaded.
    fn not_loaded(&self, unit: &str, status: &UnitStatus) -> Option<String> {
        let drop_in = self.drop_in(unit).display().to_string();
        if !status.drop_in_paths.contains(&drop_in) {
            return Some(format!("the drop-in of {unit} is new"));
        }
        let (root, text) = (self.root(), self.drop_in_text(unit).unwrap_or_default());
        let is_loaded = self.wanted_way(unit).is_loaded(&self.subject(&root), &text, status);
        (!is_loaded).then(|| format!("the drop-in of {unit} that is loaded is another one"))
    }

    /// Whether each unit would start with the view, now that systemd has read its files.
    pub(super) async fn check_in_force(&self) -> Result<(), Fault> {
        for unit in &self.units {
            for name in self.loaded_as(unit).await? {
                let status = self.systemd.unit(&name).await?;
                if let Some(reason) = self.not_loaded(unit, &status) {
                    let message =
                        format!("systemd does not use the drop-in of {unit} though it has reloaded: {reason}");
                    return Err(Fault::new(FaultCode::Overridden, message)
                        .advise(format!("see what it uses: systemctl cat {name}")));
                }
                self.check_overridden(&name, &status, &self.wanted_way(unit)).await?;
            }
        }
        Ok(())
    }

    /// What of the administrator's would win over the view: a later environment file that sets the variable too, or
    /// `UnsetEnvironment=`. (A variable of an environment file always wins over `Environment=`.) Nothing wins over a
    /// credential, but what is left of its `UnsetEnvironment=`.
    pub(super) async fn check_overridden(&self, unit: &str, status: &UnitStatus, way: &Way) -> Result<(), Fault> {
        let root = self.root();
        let subject = self.subject(&root);
        let env_file = subject.stable(Form::Variables, "").display().to_string();
        let overridden = |what: String| {
            let advice = || format!("take it out of there: systemctl cat {unit} shows where it comes from");
            let advice = self.let_go_of_another(&what).unwrap_or_else(advice);
            Fault::new(FaultCode::Overridden, format!("{what}, which wins over what rekeyd delivers to {unit}"))
                .advise(advice)
        };
        if way.deliver.is_credential() {
            let path_env = way.path_env.as_deref().into_iter();
            let all = status.environment_files.iter().map(|(path, _)| path).filter(|path| **path != env_file);
            let asked = path_env.flat_map(|name| all.clone().map(move |path| (path, name)));
            return self.first_that_sets(asked.collect()).await?.map_or(Ok(()), |what| Err(overridden(what)));
        }
        let ours = |form: Form| subject.stable(form, &self.env).display().to_string();
        // Where the unit has got a credential until now, this is ours and about to go.
        let is_ours = status.credentials.iter().any(|(_, source)| *source == ours(Form::Plain))
            || status.encrypted_credentials.iter().any(|(_, source)| *source == ours(Form::Sealed));
        for name in self.variables().filter(|_| !is_ours) {
            let names_it = |unset: &String| unset == name || unset.starts_with(&format!("{name}="));
            if status.unset_environment.iter().any(names_it) {
                return Err(overridden(format!("UnsetEnvironment= names {name}")));
            }
        }
        let ours = status.environment_files.iter().position(|(path, _)| *path == env_file);
        let from = match (way.deliver, ours) {
            (Deliver::Environment, _) => 0,
            (_, Some(ours)) => ours + 1,
            (_, None) => return Ok(()),
        };
        let files = status.environment_files[from..].iter().map(|(path, _)| path);
        let later = files.filter(|path| **path != env_file);
        let asked: Vec<(&String, &str)> =
            later.flat_map(|path| self.variables().map(move |name| (path, name))).collect();
        self.first_that_sets(asked).await?.map_or(Ok(()), |what| Err(overridden(what)))
    }

    /// Which of these environment files sets the variable that is looked for in it.
    async fn first_that_sets(&self, asked: Vec<(&String, &str)>) -> Result<Option<String>, Fault> {
        let question = |&(path, name): &(&String, &str)| Question::File {
            path: path.clone(),
            variable: name.to_owned(),
            reveal: false,
        };
        let questions: Vec<Question> = asked.iter().map(question).collect();
        let answers = self.helper.ask(&questions).await?;
        let is_set = |answer: &Answer| matches!(answer, Answer::Variable { variable: Variable::Set });
        let first = asked.iter().zip(answers).find(|(_, answer)| is_set(answer));
        Ok(first.map(|((path, name), _)| format!("EnvironmentFile={path} sets {name}, too")))
    }
}
