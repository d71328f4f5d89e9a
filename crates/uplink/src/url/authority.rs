//! The part of a URL between `://` and the path: who logs in, and where.

use std::fmt;

use crate::UrlError;

/// Who logs in, as far as the URL says it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The user, without `%`-escapes.
    pub user: Option<String>,
    /// The password, without `%`-escapes.
    pub password: Option<String>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name or address.
    pub name: String,
    /// Its port.
    pub port: u16,
}

/// `[user[:password]@]host[:port][,host[:port]…][/path]`, taken apart.
#[derive(Debug)]
pub(super) struct Authority<'a> {
    pub(super) login: Login,
    /// At least one.
    pub(super) hosts: Vec<Host>,
    /// Without the slashes around it.
    pub(super) path: &'a str,
}

impl<'a> Authority<'a> {
    pub(super) fn read(text: &'a str, port_default: u16) -> Result<Self, UrlError> {
        let (login, rest) = match text.rsplit_once('@') {
            Some((login, rest)) => (Login::read(login)?, rest),
            None => (Login::default(), text),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts = hosts.split(',').map(|host| Host::read(host, port_default));
        Ok(Self {
            login,
            hosts: hosts.collect::<Result<_, _>>()?,
            path: path.trim_end_matches('/'),
        })
    }
}

impl Login {
    fn read(text: &str) -> Result<Self, UrlError> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Ok(Self {
            user: Some(unescape(user)?),
            password: match password {
                "" => None,
                _ => Some(unescape(password)?),
            },
        })
    }
}

impl Host {
    /// `host`, `host:port`, `[address]` or `[address]:port`.
    fn read(text: &str, port_default: u16) -> Result<Self, UrlError> {
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (name, port) = match (bracketed, text.split_once(':')) {
            (Some((name, rest)), _) => (
                name,
                rest.strip_prefix(':').or(rest.is_empty().then_some("")),
            ),
            (None, Some((name, port))) => (name, Some(port)),
            (None, None) => (text, Some("")),
        };
        let port = port.ok_or_else(|| UrlError::Port(text.to_owned()))?;
        if name.is_empty() {
            return Err(UrlError::NoHost);
        }
        let port = match port {
            "" => port_default,
            _ => port.parse().map_err(|_| UrlError::Port(port.to_owned()))?,
        };
        Ok(Self {
            name: name.to_owned(),
            port,
        })
    }
}

fn unescape(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or(UrlError::Escape)?;
        let digits = std::str::from_utf8(digits).map_err(|_| UrlError::Escape)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| UrlError::Escape)?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| UrlError::Escape)
}

impl fmt::Debug for Login {
    /// Without the secret. A user alone may be one: a token of NATS stands there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.user.is_some() { "Login" } else { "None" })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}
