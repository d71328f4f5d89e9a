//! Both ends of the link in one test, without sockets: [`common`] has the machines, the other files
//! what is shown.

mod common;
mod honest;
