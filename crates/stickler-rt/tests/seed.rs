//! What seeds promise: the same number gives the same run, and names keep generators apart.

use rand::RngCore;
use stickler_rt::Seed;

fn first(seed: &Seed) -> u64 {
    seed.rng().next_u64()
}

#[test]
fn one_number_and_one_path_of_names_give_one_sequence() {
    let path = |number| Seed::from_number(number).child("node-1").child("probes");
    assert_eq!(first(&path(7)), first(&path(7)));
    assert_ne!(first(&path(7)), first(&path(8)));
}

#[test]
fn children_of_different_names_and_depths_differ() {
    let root = Seed::from_number(1);
    let seeds = [
        root.clone(),
        root.child(""),
        root.child("a"),
        root.child("ab"),
        root.child("a").child("b"),
        root.child("b").child("a"),
    ];
    let mut firsts: Vec<u64> = seeds.iter().map(first).collect();
    firsts.sort_unstable();
    firsts.dedup();
    assert_eq!(firsts.len(), seeds.len());
}

#[test]
fn the_systems_seeds_differ_and_are_never_shown() {
    let (one, two) = (Seed::from_system().unwrap(), Seed::from_system().unwrap());
    assert_ne!(first(&one), first(&two));
    assert_eq!(format!("{one:?}"), "Seed(redacted)");
}

#[test]
fn fill_gives_the_beginning_of_the_seeds_sequence() {
    let seed = Seed::from_number(3);
    let mut bytes = [0; 8];
    seed.fill(&mut bytes);
    assert_eq!(u64::from_le_bytes(bytes), first(&seed));
}
