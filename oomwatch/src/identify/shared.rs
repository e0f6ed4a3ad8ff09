//! The directory, between those who tell and whoever asks.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::identify::directory::Directory;

/// How many questions can wait.
const QUESTIONS_MAX: usize = 1024;

/// The directory, and questions to the runtimes.
#[derive(Debug, Default)]
pub(super) struct Shared {
    directory: Mutex<Directory>,
    changed: Notify,
    questions: Mutex<BTreeSet<Question>>,
    asked: Notify,
}

/// What a runtime is to tell of: by id or UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    /// CRI, of a container.
    Container(String),
    /// CRI, of a pod.
    Pod(String),
    /// Docker, of a container.
    Docker(String),
}

impl Shared {
    /// Tells the directory something.
    pub(super) fn update<T>(&self, tell: impl FnOnce(&mut Directory) -> T) -> T {
        let told = tell(&mut self.directory.lock());
        self.changed.notify_one();
        told
    }

    /// Tells the directory what nobody waits for.
    pub(super) fn keep<T>(&self, keep: impl FnOnce(&mut Directory) -> T) -> T {
        keep(&mut self.directory.lock())
    }

    /// Asks the directory.
    pub(super) fn read<T>(&self, ask: impl FnOnce(&Directory) -> T) -> T {
        ask(&self.directory.lock())
    }

    /// Something is to be looked at.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits until somebody has told something since this was awaited last. Cancel safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Puts a question, once; it is dropped if there are too many.
    pub(super) fn ask(&self, question: Question) {
        let mut questions = self.questions.lock();
        if questions.len() < QUESTIONS_MAX {
            questions.insert(question);
            self.asked.notify_one();
        }
    }

    /// All containers that CRI is to be asked for, if they are so many.
    pub(super) fn take_containers(&self, many: usize) -> Vec<String> {
        let mut questions = self.questions.lock();
        let is_containers = |question: &Question| matches!(question, Question::Container(_));
        if questions.iter().filter(|one| is_containers(one)).count() < many {
            return Vec::new();
        }
        let taken: Vec<String> = questions
            .iter()
            .filter_map(|question| match question {
                Question::Container(id) => Some(id.clone()),
                Question::Pod(_) | Question::Docker(_) => None,
            })
            .collect();
        questions.retain(|question| !is_containers(question));
        taken
    }

    /// The next question.
    pub(super) async fn question(&self) -> Question {
        loop {
            let next = self.questions.lock().pop_first();
            if let Some(question) = next {
                return question;
            }
            self.asked.notified().await;
        }
    }
}
