//! Ends that this side says in more than one place.

use crate::{Code, Status};

pub(crate) fn expired() -> Status {
    let message = "the deadline passed before it began; it did not run";
    Status::new(Code::DeadlineExceeded, message)
}

pub(crate) fn taken_back() -> Status {
    let message = "the caller took it back before it began; it did not run";
    Status::new(Code::Cancelled, message)
}

pub(crate) fn handler_gone() -> Status {
    let message = "the program that serves this command is gone; it did not run";
    Status::new(Code::Unavailable, message)
}

pub(crate) fn interrupted() -> Status {
    let message = "the target stopped in the middle; nobody knows what was done";
    Status::new(Code::Unknown, message)
}
