//! Questions that wait: while the helper answers some, those that come meanwhile go together in the next call.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::{Answer, HelperError, LIMIT, Question, ask, process};

/// The way to a helper that answers many questions in one call.
#[derive(Clone, Debug)]
pub struct ProcessHelper {
    socket: PathBuf,
    queue: Arc<Mutex<Queue>>,
    /// Whether this process answers itself.
    is_here: bool,
}

/// Where several are in company, a call waits for the questions of the others: so long for each of them…
const LINGER: Duration = Duration::from_millis(20);
/// … and no longer than this.
const LONGEST: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Queue {
    is_asking: bool,
    waiting: Vec<Waiting>,
    /// How many will ask again and again.
    company: u32,
}

impl Queue {
    fn linger(&self) -> Duration {
        if self.company > 1 { LONGEST.min(LINGER * self.company) } else { Duration::ZERO }
    }
}

/// A place in the company of those who will ask again and again; left when this is dropped.
#[derive(Debug)]
pub struct Company(Arc<Mutex<Queue>>);

impl Drop for Company {
    fn drop(&mut self) {
        locked(&self.0).company -= 1;
    }
}

fn locked(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Waiting {
    questions: Vec<Question>,
    answer: oneshot::Sender<Result<Vec<Answer>, HelperError>>,
}

impl Default for ProcessHelper {
    fn default() -> Self {
        Self { socket: PathBuf::from("/run/rekeyd/process.sock"), queue: Arc::default(), is_here: false }
    }
}

impl ProcessHelper {
    /// Looks itself, as the user that this process is.
    pub fn here() -> Self {
        Self { is_here: true, ..Self::default() }
    }

    /// The one that answers on a socket.
    #[cfg(test)]
    pub fn at(socket: PathBuf) -> Self {
        Self { socket, ..Self::default() }
    }

    /// Joins those who will ask often: as long as there are several, their questions go together.
    pub fn join(&self) -> Company {
        self.queue().company += 1;
        Company(Arc::clone(&self.queue))
    }

    /// Asks all questions at once; the answers are in the same order, and as many.
    ///
    /// # Errors
    /// Where the helper does not answer.
    pub async fn ask(&self, questions: &[Question]) -> Result<Vec<Answer>, HelperError> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        if self.is_here {
            return given(process::answers(questions)).map_err(|reason| self.failed(&reason));
        }
        let (answer, answered) = oneshot::channel();
        let begins = {
            let mut queue = self.queue();
            queue.waiting.push(Waiting { questions: questions.to_vec(), answer });
            !std::mem::replace(&mut queue.is_asking, true)
        };
        if begins {
            // In a task of its own: who asks may give up, and others' questions are in the same call.
            tokio::spawn(self.clone().serve());
        }
        answered.await.unwrap_or_else(|_| Err(self.failed("the question was lost")))
    }

    /// Asks one question.
    ///
    /// # Errors
    /// As for [`Self::ask`].
    pub async fn ask_one(&self, question: Question) -> Result<Answer, HelperError> {
        let mut answers = self.ask(&[question]).await?;
        answers.pop().ok_or_else(|| self.failed("answers are missing"))
    }

    /// Until nobody waits any more.
    async fn serve(self) {
        loop {
            let linger = self.queue().linger();
            sleep(linger).await;
            let waiting = {
                let mut queue = self.queue();
                queue.is_asking = !queue.waiting.is_empty();
                std::mem::take(&mut queue.waiting)
            };
            if waiting.is_empty() {
                return;
            }
            let (questions, waiting): (Vec<_>, Vec<_>) =
                waiting.into_iter().map(|Waiting { questions, answer }| (questions, answer)).unzip();
            let mut answers = self.call(&questions).await.map(Vec::into_iter);
            for (questions, answer) in questions.iter().zip(waiting) {
                let part = match &mut answers {
                    // What one asked in vain is nothing to the others.
                    Ok(answers) => {
                        given(answers.by_ref().take(questions.len()).collect()).map_err(|reason| self.failed(&reason))
                    }
                    Err(error) => Err(error.clone()),
                };
                // Who gave up needs no answer.
                let _ = answer.send(part);
            }
        }
    }

    /// A helper that was killed is there again at once, and has changed nothing: it is asked once more.
    async fn call(&self, questions: &[Vec<Question>]) -> Result<Vec<Answer>, HelperError> {
        let began = Instant::now();
        match call(&self.socket, questions).await {
            Err(_) if began.elapsed() < LIMIT / 2 => call(&self.socket, questions).await,
            answered => answered,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        locked(&self.queue)
    }

    fn failed(&self, reason: &str) -> HelperError {
        HelperError { socket: self.socket.clone(), reason: reason.to_owned() }
    }
}

/// All answers, where each question has one.
fn given(answers: Vec<Answer>) -> Result<Vec<Answer>, String> {
    let failed = answers.iter().find_map(|answer| match answer {
        Answer::Failed { reason } => Some(reason.clone()),
        _ => None,
    });
    failed.map_or(Ok(answers), Err)
}

async fn call(socket: &Path, questions: &[Vec<Question>]) -> Result<Vec<Answer>, HelperError> {
    let questions: Vec<&Question> = questions.iter().flatten().collect();
    let answers: Vec<Answer> = ask(socket, &questions).await?;
    if answers.len() == questions.len() {
        Ok(answers)
    } else {
        Err(HelperError { socket: socket.to_owned(), reason: "answers are missing".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::UnixListener;

    use super::*;
    use crate::helper::Program;

    fn program(path: &str) -> Question {
        Question::Program { path: path.to_owned() }
    }

    /// Answers each path that begins with /bin as there; tells how many questions each call had.
    async fn answer(listener: UnixListener, calls: Arc<Mutex<Vec<usize>>>) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut line = String::new();
            BufReader::new(&mut stream).read_line(&mut line).await.unwrap();
            let questions: Vec<Question> = serde_json::from_str(&line).unwrap();
            calls.lock().unwrap().push(questions.len());
            let is_there =
                |question: &Question| matches!(question, Question::Program { path } if path.starts_with("/bin"));
            let program = |there: bool| if there { Program::Fine } else { Program::Missing };
            let answers: Vec<_> =
                questions.iter().map(|question| Answer::Program { program: program(is_there(question)) }).collect();
            stream.write_all(&serde_json::to_vec(&answers).unwrap()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn those_who_ask_meanwhile_go_together_and_each_gets_its_own_answers() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("sock");
        let calls = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(answer(UnixListener::bind(&socket).unwrap(), Arc::clone(&calls)));
        let helper = ProcessHelper { socket, ..ProcessHelper::default() };
        let asked = (0..20).map(|number| {
            let paths = if number % 2 == 0 { vec!["/bin/a", "/no"] } else { vec!["/no", "/bin/a"] };
            let helper = helper.clone();
            async move {
                let questions: Vec<_> = paths.iter().map(|path| program(path)).collect();
                (number, helper.ask(&questions).await.unwrap())
            }
        });
        for (number, answers) in join_all(asked).await {
            let there: Vec<bool> =
                answers.iter().map(|answer| matches!(answer, Answer::Program { program: Program::Fine })).collect();
            assert_eq!(there, [number % 2 == 0, number % 2 == 1]);
        }
        let calls = calls.lock().unwrap();
        assert_eq!(calls.iter().sum::<usize>(), 40);
        assert!(calls.len() <= 2, "{calls:?}");
    }

    #[tokio::test]
    async fn in_company_a_call_waits_for_the_questions_of_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("sock");
        let calls = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(answer(UnixListener::bind(&socket).unwrap(), Arc::clone(&calls)));
        let helper = ProcessHelper { socket, ..ProcessHelper::default() };
        let many: Vec<Company> = (0..50).map(|_| helper.join()).collect();
        let later = async {
            sleep(LINGER).await;
            helper.ask_one(program("/bin/later")).await
        };
        let (first, second) = tokio::join!(helper.ask_one(program("/bin/first")), later);
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(*calls.lock().unwrap(), [2]);
        let alone = helper.join();
        drop(many);
        assert!(helper.queue().linger().is_zero(), "one alone waits for nobody");
        drop(alone);
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_is_told_to_everyone() {
        let helper = ProcessHelper { socket: "/no/such/socket".into(), ..ProcessHelper::default() };
        let answers = join_all((0..3).map(|_| helper.ask_one(program("/bin/a")))).await;
        assert!(answers.iter().all(Result::is_err));
    }
}
