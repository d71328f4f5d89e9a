//! What is written, what is refused, and what is known after a restart.

use std::os::unix::fs::PermissionsExt as _;

use overlay::Address;

use super::*;

#[test]
fn what_was_completed_is_known_after_a_restart() {
    let directory = directory();
    let mut site = Site::open(&directory);
    let own = block(OWN, 4, 1, &[(1, 10, 5)]);
    let blocks = [
        own.clone(),
        block(OTHER, 1, 1, &[(1, 1, 1)]),
        block(OTHER, 1, 3, &[(1, 3, 3)]),
    ];
    let contact = Contact {
        machine: machine(OTHER),
        addresses: vec![Address::new("/ip4/127.0.0.1/tcp/1".to_owned()).expect("an address")],
    };
    let clean = CleanStop {
        epoch: own.header().log.epoch,
        last_sequence: 1,
        state_counter: 12,
    };
    let states = [
        state(StateKind::Series, "1-00000007/1", 1),
        state(StateKind::Progress, "u/m", 2),
    ];

    site.put_blocks(&blocks);
    let writes = states.iter().cloned().map(Write::State).collect();
    assert!(site.put(writes).iter().all(Result::is_ok));
    site.store.put_contact(&contact).expect("kept");
    site.store.start_epoch(4).expect("noted");
    site.store.start_epoch(3).expect("changes nothing");
    site.store.close(Some(clean)).expect("closes");
    drop(site);
    let site = Site::open(&directory);

    let recovered = &site.recovered;
    assert_eq!(recovered.clean, Some(clean));
    assert_eq!(recovered.epoch_counter_highest, 4);
    assert_eq!(recovered.contacts, [contact]);
    assert_eq!(recovered.states.len(), 2);
    assert_eq!(
        recovered.last_own,
        Some((own.id().position(), own.hash(&NETWORK)))
    );
    let mark = PublisherMark {
        publisher: "publisher-1".to_owned(),
        sequence: 1,
    };
    assert_eq!(recovered.publishers, [mark]);
    let other = recovered
        .frontier
        .iter()
        .find(|entry| entry.log == log_of(OTHER, 1));
    let other = other.expect("the other's log");
    assert_eq!((other.floor, other.end), (1, 1));
    assert_eq!(other.beyond, [Span { first: 3, last: 3 }]);
    assert_eq!(site.read_all(log_of(OTHER, 1)), blocks[1..]);
    assert_eq!(site.store.stats().blocks, 3);
}

#[test]
fn own_blocks_beyond_a_gap_are_known_by_the_ends_of_their_runs() {
    let directory = directory();
    let mut site = Site::open(&directory);
    let blocks = [1, 2, 4, 5, 7].map(|sequence| block(OWN, 4, sequence, &[(1, 10, 5)]));
    let older = [1, 3].map(|sequence| block(OWN, 3, sequence, &[(1, 10, 5)]));
    let end_of = |block: &Block| (block.id().position(), block.hash(&NETWORK));

    site.put_blocks(&older);
    site.put_blocks(&blocks);
    drop(site);
    let recovered = Site::open(&directory).recovered;

    let run = |first: &Block, last: &Block| {
        let (position, hash) = end_of(last);
        (first.id().position(), position, hash)
    };
    let expected = [run(&blocks[2], &blocks[3]), run(&blocks[4], &blocks[4])];
    assert_eq!(recovered.last_own, Some(end_of(&blocks[1])));
    assert_eq!(recovered.own_runs, expected);
}

#[test]
fn the_marker_of_a_stop_in_order_is_good_for_one_start() {
    let directory = directory();
    let clean = CleanStop {
        epoch: log_of(OWN, 1).epoch,
        last_sequence: 0,
        state_counter: 0,
    };
    Site::open(&directory)
        .store
        .close(Some(clean))
        .expect("closes");

    let first = Site::open(&directory).recovered.clean;
    let second = Site::open(&directory).recovered.clean;

    assert_eq!(first, Some(clean));
    assert_eq!(second, None);
}

#[test]
fn a_block_that_is_there_already_is_completed_and_not_stored_again() {
    let directory = directory();
    let mut site = Site::open(&directory);
    let blocks = [block(OTHER, 1, 1, &[(1, 1, 1)])];

    site.put_blocks(&[blocks[0].clone(), blocks[0].clone()]);
    site.put_blocks(&blocks);

    let stats = site.store.stats();
    assert_eq!(
        (stats.blocks, stats.readings, stats.writes_repeated),
        (1, 1, 2)
    );
    assert_eq!(site.read_all(log_of(OTHER, 1)), blocks);
}

#[test]
fn an_older_state_does_not_replace_a_newer_one() {
    let directory = directory();
    let mut site = Site::open(&directory);
    let newer = state(StateKind::Membership, "", 5);

    let writes = vec![newer.clone(), state(StateKind::Membership, "", 4)];
    let results = site.put(writes.into_iter().map(Write::State).collect());
    assert!(results.iter().all(Result::is_ok));
    drop(site);

    assert_eq!(Site::open(&directory).recovered.states, [newer]);
}

#[test]
fn a_second_process_is_kept_out_with_a_clear_error() {
    let directory = directory();
    let site = Site::open(&directory);

    let second = Site::open_with(Arc::new(SystemDisk), config(&directory));

    let message = second.err().expect("is refused").to_string();
    assert!(message.contains("in use by another process"), "{message}");
    drop(site);
    Site::open(&directory);
}

#[test]
fn a_directory_of_another_network_is_refused() {
    let directory = directory();
    Site::open(&directory).put_blocks(&[block(OTHER, 1, 1, &[(1, 1, 1)])]);

    let other = Config {
        network: NetworkId::from_bytes([8; 32]),
        ..config(&directory)
    };
    let refused = Site::open_with(Arc::new(SystemDisk), other).err();

    assert!(
        matches!(refused, Some(OpenError::Network { found: NETWORK, .. })),
        "{refused:?}"
    );
}

#[test]
fn what_is_no_directory_or_has_no_room_is_refused_with_what_to_do() {
    let directory = directory();
    let file = directory.path().join("file");
    std::fs::write(&file, b"").expect("written");
    let full = FaultyDisk::default();
    full.set(Plan {
        free: Some(1_000),
        ..Plan::default()
    });

    let beneath = Config::new(file.join("data"), NETWORK, machine(OWN));
    let not_a_directory = Site::open_with(Arc::new(SystemDisk), beneath).err();
    let no_room = Site::open_with(Arc::new(full), config(&directory)).err();

    let message = not_a_directory.expect("is refused").to_string();
    assert!(message.starts_with("cannot create"), "{message}");
    let message = no_room.expect("is refused").to_string();
    assert!(message.contains("free space there"), "{message}");
}

#[test]
fn nobody_else_may_read_what_is_stored() {
    let directory = directory();
    Site::open(&directory).put_blocks(&[block(OTHER, 1, 1, &[(1, 1, 1)])]);

    let mode = |path: &str| {
        let path = directory.path().join("data").join(path);
        std::fs::metadata(path)
            .expect("exists")
            .permissions()
            .mode()
            & 0o777
    };

    assert_eq!([mode(""), mode("segments"), mode("index")], [0o700; 3]);
    assert_eq!([mode("lock"), mode("segments/00000001.seg")], [0o600; 2]);
}

#[test]
fn below_the_free_space_limit_blocks_are_refused_and_states_are_kept() {
    let directory = directory();
    let disk = FaultyDisk::default();
    let limited = Config {
        free_bytes_min: 10 << 20,
        ..config(&directory)
    };
    let mut site = Site::open_with(Arc::new(disk.clone()), limited).expect("opens");
    disk.set(Plan {
        free: Some(5 << 20),
        ..Plan::default()
    });

    let refused = site.put(vec![Write::Block(block(OWN, 1, 1, &[(1, 1, 1)]))]);
    let kept = site.put(vec![Write::State(state(StateKind::Membership, "", 1))]);
    disk.set(Plan::default());
    let taken = site.put(vec![Write::Block(block(OWN, 1, 1, &[(1, 1, 1)]))]);

    assert!(
        matches!(refused[..], [Err(WriteError::SpaceLow { .. })]),
        "{refused:?}"
    );
    assert!(kept[0].is_ok() && taken[0].is_ok());
    assert_eq!(site.store.stats().writes_failed, 1);
}

#[test]
fn a_full_queue_gives_the_write_back() {
    let directory = directory();
    let small = Config {
        queue_bytes_max: 10,
        ..config(&directory)
    };
    let site = Site::open_with(Arc::new(SystemDisk), small).expect("opens");
    let write = Write::Block(block(OWN, 1, 1, &[(1, 1, 1)]));

    let full = site
        .store
        .write(Ticket::default(), write.clone())
        .expect_err("is refused");
    site.store.close(None).expect("closes");
    let closed = site
        .store
        .write(Ticket::default(), write.clone())
        .expect_err("is refused");

    assert_eq!((full.reason, full.write), (RefusedReason::Full, write));
    assert_eq!(closed.reason, RefusedReason::Closed);
}

#[test]
fn adversarial_39_an_index_of_garbage_is_set_aside_and_built_anew_with_equal_content() {
    let directory = directory();
    let mut site = Site::open(&directory);
    site.put_blocks(&[
        block(OWN, 1, 1, &[(1, 1, 1)]),
        block(OTHER, 1, 1, &[(2, 2, 2)]),
    ]);
    let states = (0..40).map(|n| state(StateKind::Series, &format!("1-00000007/{n}"), n + 1));
    let states: Vec<State> = states.collect();
    site.put(states.iter().cloned().map(Write::State).collect());
    drop(site);
    let before = Site::open(&directory).recovered;

    let index = directory.path().join("data/index");
    for name in ["conf", "db"] {
        let length = std::fs::metadata(index.join(name))
            .expect("sled's file")
            .len();
        let garbage = vec![0xA5; usize::try_from(length).expect("small")];
        std::fs::write(index.join(name), garbage).expect("written");
    }
    let site = Site::open(&directory);

    let sorted = |mut states: Vec<State>| {
        states.sort_by_key(|state| state.key().clone());
        states
    };
    assert_eq!(site.store.stats().index_rebuilt, 1);
    assert!(directory.path().join("data/index.broken-1").exists());
    assert_eq!(site.recovered.frontier, before.frontier);
    assert_eq!(sorted(site.recovered.states), sorted(states));
}
