//! Both ends of the link in one test, without sockets: [`common`] has the machines, the other files
//! what is shown.

mod admission;
mod common;
mod forger;
mod golden;
mod honest;
mod impostors;
mod strangers;
mod stream;
