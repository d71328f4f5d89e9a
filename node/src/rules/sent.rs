//! Commands that rules have sent, until they end: how they end is told to the log.

use api::{Sent, SentStep};
use command::Code;
use tokio::sync::mpsc::error::TryRecvError;

/// Commands on their way.
#[derive(Debug, Default)]
pub struct SentCommands {
    sent: Vec<(String, Sent)>,
}

impl SentCommands {
    /// Waits for the end of a command. When too many are on their way, the oldest is taken back.
    pub fn watch(&mut self, rule: String, sent: Sent) {
        if self.sent.len() >= SENT_MAX {
            let (rule, sent) = self.sent.remove(0);
            tracing::warn!(rule, command = %sent.id, "too many commands of rules; one is taken back");
        }
        self.sent.push((rule, sent));
    }

    /// Says how those ended that have ended. Called about once a second.
    pub fn look(&mut self) {
        self.sent.retain_mut(|(rule, sent)| {
            loop {
                match sent.steps.try_recv() {
                    Ok(SentStep::Value(_)) => {}
                    Ok(SentStep::Ended(status)) if status.code == Code::Ok => {
                        tracing::debug!(rule, command = %sent.id, "the command was carried out");
                        return false;
                    }
                    Ok(SentStep::Ended(status)) => {
                        let (id, rule) = (&sent.id, &*rule);
                        tracing::warn!(rule, command = %id, %status, "the command was not carried out");
                        return false;
                    }
                    Err(TryRecvError::Empty) => return true,
                    Err(TryRecvError::Disconnected) => return false,
                }
            }
        });
    }
}

/// Most commands on their way. Source: guess; a rule sends 60 a minute unless it says otherwise.
const SENT_MAX: usize = 1_024;
