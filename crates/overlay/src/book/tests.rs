use super::*;

const NOW: Instant = Instant::from_nanos(1);

fn id(number: u8) -> MachineId {
    MachineId::from_bytes([number; 32])
}

fn contact(number: u8, port: u16) -> Contact {
    Contact {
        machine: id(number),
        addresses: vec![Address::new(format!("/ip4/10.0.0.{number}/tcp/{port}")).unwrap()],
    }
}

fn book(max: usize) -> (Book, Rng) {
    (Book::new(id(0), max), Rng::from_u64(1))
}

#[test]
fn hearsay_does_not_replace_what_a_machine_says_itself_unless_that_fails() {
    let (mut book, mut rng) = book(8);
    book.learn(contact(1, 1), Source::Itself, &mut rng);

    assert!(!book.learn(contact(1, 2), Source::Hearsay, &mut rng));
    assert_eq!(book.contact(&id(1)), Some(contact(1, 1)));
    book.failed(NOW, &id(1), &mut rng);
    assert!(book.learn(contact(1, 2), Source::Hearsay, &mut rng));

    assert_eq!(book.contact(&id(1)), Some(contact(1, 2)));
}

#[test]
fn hearsay_leaves_half_of_a_full_book_to_machines_that_were_met() {
    let (mut book, mut rng) = book(8);
    (1..=8).for_each(|n| assert!(book.learn(contact(n, 1), Source::Itself, &mut rng)));

    (100..200).for_each(|n| {
        book.learn(contact(n, 1), Source::Hearsay, &mut rng);
    });

    let met = (1..=8).filter(|n| book.contact(&id(*n)).is_some()).count();
    assert_eq!((book.len(), met), (8, 4));
}

#[test]
fn linked_and_lost_machines_keep_their_place_in_a_full_book() {
    let (mut book, mut rng) = book(2);
    book.learn(contact(1, 1), Source::Itself, &mut rng);
    book.learn(contact(2, 1), Source::Itself, &mut rng);
    book.linked(&id(1));
    book.look_for(id(2), &mut rng);

    assert!(!book.learn(contact(3, 1), Source::Itself, &mut rng));
}

#[test]
fn too_many_addresses_are_cut() {
    let (mut book, mut rng) = book(8);
    let addresses = (0..100)
        .map(|n| Address::new(n.to_string()).unwrap())
        .collect();
    let machine = id(1);

    book.learn(Contact { machine, addresses }, Source::Hearsay, &mut rng);

    let kept = book.contact(&machine).unwrap().addresses;
    assert_eq!(kept.len(), Contact::ADDRESSES_MAX);
}

#[test]
fn pauses_grow_with_failures_up_to_a_limit_and_end_with_success() {
    let (mut book, mut rng) = book(8);
    book.learn(contact(1, 1), Source::Discovery, &mut rng);
    let tried = |book: &Book, at| book.to_dial(at, 1, |_| true, &mut Rng::from_u64(1)) == [id(1)];

    (0..3).for_each(|_| book.failed(NOW, &id(1), &mut rng));
    assert!(!tried(&book, NOW + BACKOFF_MIN));
    assert!(tried(&book, NOW + BACKOFF_MIN * 6));
    (0..100).for_each(|_| book.failed(NOW, &id(1), &mut rng));
    assert!(!tried(&book, NOW + BACKOFF_MAX / 3));
    assert!(tried(&book, NOW + BACKOFF_MAX * 3 / 2));
    book.succeeded(&id(1));

    assert!(tried(&book, NOW));
}

#[test]
fn a_machine_that_was_met_and_cannot_be_dialled_is_looked_for_and_another_is_not() {
    let (mut book, mut rng) = book(8);
    book.learn(contact(1, 1), Source::Store, &mut rng);
    book.learn(contact(2, 1), Source::Hearsay, &mut rng);

    for machine in [id(1), id(2)] {
        assert!(book.dial(NOW, &machine, false).is_some());
        assert!(book.dial_failed(NOW, &machine, &mut rng));
    }

    assert_eq!(book.lost_by_patience(), [id(1)]);
}

#[test]
fn no_more_are_looked_for_than_the_limit() {
    let (mut book, mut rng) = book(100);
    for number in 1..100 {
        book.learn(contact(number, 1), Source::Itself, &mut rng);
        book.look_for(id(number), &mut rng);
    }

    assert_eq!(book.lost_by_patience().len(), LOST_MAX);
}

#[test]
fn what_fails_is_not_passed_on() {
    let (mut book, mut rng) = book(8);
    book.learn(contact(1, 1), Source::Itself, &mut rng);
    book.learn(contact(2, 1), Source::Itself, &mut rng);
    book.failed(NOW, &id(1), &mut rng);

    assert_eq!(book.sample(8, |_| true, &mut rng), [contact(2, 1)]);
}
