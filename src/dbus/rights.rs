//! Who may do what over the bus, and what an argument may look like.

use zbus::message::{Flags, Header};

use super::polkit::Answer;
use super::rekeyd1::Error;

/// The longest reason, in bytes.
const LONGEST_REASON: usize = 1000;
/// More flags there are not.
const MOST_FLAGS: usize = 8;
/// The longest flag, in bytes.
const LONGEST_FLAG: usize = 32;
/// The longest name of a secret, in bytes.
const LONGEST_NAME: usize = 63;

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To look at what is known. The bus lets in those who may.
    Look,
    /// To have consumers and probes looked at, which costs them something too.
    Examine,
    /// `org.rekeyd1.rotate`
    Rotate,
    /// `org.rekeyd1.rollback`
    Rollback,
    /// `org.rekeyd1.manage`
    Manage,
    /// What root alone may do, whatever polkit says.
    Root,
}

impl Right {
    /// The action that polkit is asked about; none where the bus has decided.
    pub fn action(self) -> Option<&'static str> {
        match self {
            Self::Look | Self::Examine | Self::Root => None,
            Self::Rotate => Some("org.rekeyd1.rotate"),
            Self::Rollback => Some("org.rekeyd1.rollback"),
            Self::Manage => Some("org.rekeyd1.manage"),
        }
    }

    /// How much of a user's share a call uses up.
    pub fn cost(self) -> u32 {
        match self {
            Self::Look => 1,
            Self::Examine => 20,
            Self::Rotate | Self::Rollback | Self::Manage | Self::Root => 5,
        }
    }
}

/// Who asks, as the bus says.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The sender's unique name.
    pub sender: String,
    /// Whether it wants polkit to ask a person.
    pub interactive: bool,
}

impl Asker {
    /// # Errors
    /// Where the message has no sender, which the bus does not let happen.
    pub fn of(header: &Header<'_>) -> Result<Self, Error> {
        let sender = header.sender().ok_or_else(|| Error::NotAllowed("the call has no sender".to_owned()))?;
        let interactive = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        Ok(Self { sender: sender.as_str().to_owned(), interactive })
    }
}

/// The error for a caller whom polkit did not allow `action`.
///
/// # Errors
/// For every answer but yes.
pub fn allowed(answer: Answer, action: &str, uid: u32) -> Result<(), Error> {
    let why = match answer {
        Answer::Yes => return Ok(()),
        Answer::No | Answer::Challenge => format!("polkit does not allow uid {uid} the action {action}"),
        Answer::Silence(why) => {
            return Err(Error::NotAllowed(format!(
                "polkit cannot be asked whether uid {uid} may do {action} ({why}): without it only root may act; \
                 use sudo, or have the package polkitd installed"
            )));
        }
    };
    let authenticate = if answer == Answer::Challenge { "authenticate as an administrator, " } else { "" };
    Err(Error::NotAllowed(format!(
        "{why}: {authenticate}ask the administrator for a rule in /etc/polkit-1/rules.d (org.rekeyd1(5) shows one), \
         or use sudo"
    )))
}

/// Checks what a caller wrote before anything else is done with it, or is waited for while it takes up memory.
///
/// # Errors
/// Where it is too long, or has characters that would do something to the terminal of whoever reads it.
pub fn check_words(name: &str, reason: &str, flags: &[String]) -> Result<(), Error> {
    if name.len() > LONGEST_NAME {
        return Err(Error::UnknownSecret(format!(
            "a secret's name has at most {LONGEST_NAME} bytes, this one has {}",
            name.len()
        )));
    }
    if reason.len() > LONGEST_REASON {
        return Err(Error::Failed(format!(
            "a reason has at most {LONGEST_REASON} bytes, this one has {}",
            reason.len()
        )));
    }
    if reason.chars().any(is_unprintable) {
        return Err(Error::Failed("a reason is one line of text, without control characters".to_owned()));
    }
    if flags.len() > MOST_FLAGS || flags.iter().any(|flag| flag.len() > LONGEST_FLAG) {
        return Err(Error::Failed(
            "these are no flags: use wait, follow, emergency, initial, scheduled or retry".to_owned(),
        ));
    }
    Ok(())
}

/// Control characters, and those that turn the direction of what follows.
fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_too_long_or_would_act_on_a_terminal_are_turned_away() {
        assert!(check_words("my-backend-jwt", "a former employee: größer als gedacht", &["wait".to_owned()]).is_ok());
        assert!(check_words(&"a".repeat(64), "", &[]).is_err());
        assert!(check_words("a", &"x".repeat(1001), &[]).is_err());
        assert!(check_words("a", "red \u{1b}[31m", &[]).is_err());
        assert!(check_words("a", "two\nlines", &[]).is_err());
        assert!(check_words("a", "turned \u{202e}", &[]).is_err());
        assert!(check_words("a", "", &vec![String::new(); 9]).is_err());
        assert!(check_words("a", "", &["x".repeat(33)]).is_err());
    }

    #[test]
    fn whoever_is_not_allowed_is_told_what_to_ask_for() {
        assert!(allowed(Answer::Yes, "org.rekeyd1.rotate", 1000).is_ok());
        let text = |answer| match allowed(answer, "org.rekeyd1.rotate", 1000) {
            Err(Error::NotAllowed(text)) => text,
            other => format!("{other:?}"),
        };
        assert!(text(Answer::No).contains("org.rekeyd1.rotate") && text(Answer::No).contains("/etc/polkit-1/rules.d"));
        assert!(text(Answer::Challenge).contains("authenticate"));
        assert!(text(Answer::Silence("gone".to_owned())).contains("polkitd"));
    }
}
