//! Writes the shells' completions of rekeyctl into a directory, from the command line that rekeyctl itself has. A program
//! of the package's build alone, behind the feature `completions`, so that rekeyctl does not carry what makes them.
//!
//! clap knows verbs and options. Which secrets there are is added here: a place that takes the name of one is given a
//! single possible value, [`SECRET`], and what stands for that in the generated text is exchanged for a question.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, CommandFactory as _};
use clap_complete::{Shell, generate};

const PROGRAM: &str = "rekeyctl";
/// Stands for the names of the secrets.
const SECRET: &str = "@SECRET@";
/// Arguments with the name of a secret have one of these ids.
const NAMES: [&str; 2] = ["name", "names"];

/// A file that is empty, as a link to /dev/null is, hides the secret.
const BASH_SECRETS: &str = r#"_rekeyctl_secrets() {
    local file
    for file in {/etc,/run,/usr/lib}/rekeyd/secrets.d/*.toml; do
        [[ ! -s $file ]] || { file=${file##*/}; echo "${file%.toml}"; }
    done
}
"#;
const ZSH_SECRETS: &str = r#"_rekeyctl_secrets() {
    local -aU secrets=({/etc,/run,/usr/lib}/rekeyd/secrets.d/*.toml(N-.L+0:t:r))
    compadd -a secrets
}
"#;
const FISH_SECRETS: &str = r#"function __fish_rekeyctl_secrets
    for file in {/etc,/run,/usr/lib}/rekeyd/secrets.d/*.toml
        test -s $file; and basename $file .toml
    end
end
"#;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: rekeyctl-completions DIRECTORY");
        return ExitCode::from(64);
    };
    match write(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

/// The names are those that each shell looks for.
fn write(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    std::fs::write(directory.join("rekeyctl"), bash())?;
    std::fs::write(directory.join("_rekeyctl"), zsh())?;
    std::fs::write(directory.join("rekeyctl.fish"), fish())
}

fn bash() -> String {
    format!("{BASH_SECRETS}\n{}", generated(Shell::Bash).replace(SECRET, "$(_rekeyctl_secrets)"))
}

/// The file is the body of the function when it is loaded: the helper has to stand before what calls it.
fn zsh() -> String {
    let text = generated(Shell::Zsh).replace(&format!("({SECRET})"), "_rekeyctl_secrets");
    text.replacen("\n_rekeyctl() {", &format!("\n{ZSH_SECRETS}\n_rekeyctl() {{"), 1)
}

/// clap's generator for fish leaves positional arguments out.
fn fish() -> String {
    let command = command();
    let verbs: Vec<_> = command.get_subcommands().filter(|verb| takes_secret(verb)).map(Command::get_name).collect();
    let secrets = format!(
        "complete -c {PROGRAM} -n \"__fish_rekeyctl_using_subcommand {}\" -f -a \"(__fish_rekeyctl_secrets)\"\n",
        verbs.join(" ")
    );
    format!("{}\n{FISH_SECRETS}\n{secrets}", generated(Shell::Fish))
}

fn generated(shell: Shell) -> String {
    let mut text = Vec::new();
    generate(shell, &mut command(), PROGRAM, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn command() -> Command {
    shown(&rekeyd::ctl::Arguments::command()).version(env!("CARGO_PKG_VERSION"))
}

/// A command without what is hidden, since the generators offer that too.
fn shown(command: &Command) -> Command {
    let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    // clap takes names that live for ever.
    let name: &'static str = command.get_name().to_owned().leak();
    Command::new(name)
        .about(command.get_about().cloned().unwrap_or_default())
        .args(arguments.map(|argument| if is_secret(argument) { placeholder(argument) } else { argument.clone() }))
        .subcommands(verbs.map(shown))
}

fn placeholder(argument: &Arg) -> Arg {
    argument.clone().value_parser(PossibleValuesParser::new([SECRET]))
}

fn is_secret(argument: &Arg) -> bool {
    argument.is_positional() && NAMES.contains(&argument.get_id().as_str())
}

fn takes_secret(verb: &Command) -> bool {
    verb.get_arguments().any(is_secret)
}
