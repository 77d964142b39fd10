//! polkit, `org.freedesktop.PolicyKit1.Authority`: may the sender of a message do this?
//!
//! It is asked about the sender's unique name on the bus, which polkit turns into a user and a session by itself; a
//! process id could be another's by the time of the answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use zbus::Connection;
use zbus::wire::Variant;

const DESTINATION: &str = "org.freedesktop.PolicyKit1";
const PATH: &str = "/org/freedesktop/PolicyKit1/Authority";
const INTERFACE: &str = "org.freedesktop.PolicyKit1.Authority";
/// `AllowUserInteraction` of `CheckAuthorizationFlags`.
const ALLOW_USER_INTERACTION: u32 = 1;
/// Rules are run, and polkitd may have to be started for it.
const LIMIT: Duration = Duration::from_secs(20);
/// A person types a password.
const LIMIT_WITH_A_PERSON: Duration = Duration::from_secs(120);

/// What polkit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may.
    Yes,
    /// It may not.
    No,
    /// It might, after somebody has authenticated, which was not asked for or could not be done.
    Challenge,
    /// Nobody answers: there is no polkit, or not in time.
    Silence(String),
}

/// Asks whether `sender` may do `action`. `details` are what a rule sees and the message to a person names; where
/// `interactive`, polkit may ask a person, and the answer takes up to two minutes.
pub async fn ask(
    connection: &Connection,
    sender: &str,
    action: &str,
    details: &[(&str, &str)],
    interactive: bool,
) -> Answer {
    static QUESTIONS: AtomicU64 = AtomicU64::new(0);
    let question = format!("rekeyd-{}", QUESTIONS.fetch_add(1, Ordering::Relaxed));
    let subject = ("system-bus-name", HashMap::from([("name", Variant::from(sender))]));
    let details: HashMap<&str, &str> = details.iter().copied().collect();
    let (flags, limit) = if interactive { (ALLOW_USER_INTERACTION, LIMIT_WITH_A_PERSON) } else { (0, LIMIT) };
    let body = (subject, action, details, flags, question.as_str());
    let call = connection.call_method(Some(DESTINATION), PATH, Some(INTERFACE), "CheckAuthorization", &body);
    let reply = match timeout(limit, call).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => return Answer::Silence(error.to_string()),
        Err(_) => {
            cancel(connection.clone(), question);
            return Answer::Silence(format!("no answer within {} s", limit.as_secs()));
        }
    };
    match reply.body().deserialize::<(bool, bool, HashMap<String, String>)>() {
        Ok((true, _, _)) => Answer::Yes,
        Ok((false, true, _)) => Answer::Challenge,
        Ok((false, false, _)) => Answer::No,
        Err(error) => Answer::Silence(error.to_string()),
    }
}

/// Takes a dialog off somebody's screen that nobody waits for any more.
fn cancel(connection: Connection, question: String) {
    tokio::spawn(async move {
        let method = "CancelCheckAuthorization";
        let call = connection.call_method(Some(DESTINATION), PATH, Some(INTERFACE), method, &question);
        let _ = timeout(LIMIT, call).await;
    });
}
