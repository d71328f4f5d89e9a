//! What somebody sees who listens on the wire between two machines.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::behind::{self, SERIES, SITE, Site};
use crate::gate;
use crate::namespaces::{Namespaces, Place};
use crate::python::{interpreter, script};
use crate::wait::until;

#[tokio::test]
async fn what_crosses_the_wire_shows_no_name_no_id_and_no_reading() {
    let _turn = gate::beside_others();
    let site = Site::new().await;
    let capture = Capture::start(&site.namespaces, &PathBuf::from(site.file("frames")));
    let value = 1_234.567_890_123;
    let _open = site.start(Place::Open).await;
    let left = site.start(Place::Left).await;
    until("the machines are linked", LIMIT, async || {
        site.is_linked(Place::Left, Place::Open).await
    })
    .await;
    site.publish_at(Place::Left, value).await;
    until("the reading has crossed", LIMIT, async || {
        site.has(Place::Open, value).await
    })
    .await;
    let ids = [
        site.machine_id(Place::Left).await,
        site.machine_id(Place::Open).await,
    ];
    drop(left); // Its farewell is captured too.
    site.namespaces
        .say_in_the_clear(Place::Left, Place::Open, MARKER);

    let frames = until("the control is captured", LIMIT, async || {
        let frames = capture.frames();
        holds(&frames, MARKER)
            .then_some(frames)
            .ok_or("not yet".to_owned())
    })
    .await;

    let mut secrets: Vec<(&str, Vec<u8>)> = [SITE, SERIES]
        .into_iter()
        .chain([Place::Left, Place::Open].map(behind::name))
        .map(|text| (text, text.as_bytes().to_vec()))
        .collect();
    for id in &ids {
        let key = bs58::decode(id)
            .into_vec()
            .expect("base58")
            .split_off(ID_HEAD_BYTES);
        assert_eq!(key.len(), 32, "an id ends with the public key");
        secrets.push((id, id.as_bytes().to_vec()));
        secrets.push((id, key));
    }
    secrets.push(("the value", value.to_le_bytes().to_vec()));
    secrets.push(("the value", value.to_be_bytes().to_vec()));
    for (what, bytes) in secrets {
        assert!(!holds(&frames, &bytes), "{what} is readable");
    }
    assert!(
        frames.len() > 5_000,
        "a link was captured: {} bytes",
        frames.len()
    );
}

fn holds(frames: &[u8], bytes: &[u8]) -> bool {
    frames.windows(bytes.len()).any(|window| window == bytes)
}

/// A capture of all that crosses the bridge; it ends when this is dropped.
struct Capture {
    child: std::process::Child,
    file: PathBuf,
}

impl Capture {
    fn start(namespaces: &Namespaces, file: &Path) -> Self {
        let mut command: Command = namespaces.command_at_bridge(Path::new(&interpreter()));
        command.arg(script("capture.py")).arg("bridge").arg(file);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("the interpreter starts");
        let mut said = [0; 10];
        let mut stdout = child.stdout.take().expect("a piped standard output");
        std::io::Read::read_exact(&mut stdout, &mut said).expect("it captures (as root?)");
        assert_eq!(&said, b"capturing\n");
        Self {
            child,
            file: file.to_owned(),
        }
    }

    fn frames(&self) -> Vec<u8> {
        std::fs::read(&self.file).expect("what was captured")
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is sent in the clear, to see that what is readable is found.
const MARKER: &[u8] = b"readable by everybody";
/// Before the public key in a machine id. Unit: bytes. Source: libp2p's peer ids, multihash of a
/// key.
const ID_HEAD_BYTES: usize = 6;
/// Source: guess.
const LIMIT: Duration = Duration::from_secs(20);
