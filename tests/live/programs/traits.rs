// Dynamic calls down a tree, sorting with closures, hash maps, formatting, and panics that are caught.
use std::collections::{BTreeMap, HashMap};

trait Job {
    fn run(&self, depth: usize) -> u64;
}

struct Sum(Vec<u64>);
struct Tree(Vec<Box<dyn Job>>);

impl Job for Sum {
    fn run(&self, depth: usize) -> u64 {
        let mut values: Vec<u64> =
            self.0.iter().map(|x| x.wrapping_mul(6364136223846793005).rotate_left(depth as u32)).collect();
        values.sort_by(|a, b| b.cmp(a));
        values.iter().fold(0, |a, b| a ^ b)
    }
}

impl Job for Tree {
    fn run(&self, depth: usize) -> u64 {
        self.0.iter().map(|job| job.run(depth + 1)).fold(0, |a, b| a.wrapping_add(b))
    }
}

fn make(depth: usize) -> Box<dyn Job> {
    if depth == 0 {
        return Box::new(Sum((0..200).collect()));
    }
    Box::new(Tree((0..3).map(|_| make(depth - 1)).collect()))
}

fn main() {
    let rounds: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100);
    let job = make(4);
    let mut total = 0u64;
    let mut counts: HashMap<String, u64> = HashMap::new();
    let mut sorted = BTreeMap::new();
    for i in 0..rounds {
        total ^= job.run(i);
        let result = std::panic::catch_unwind(|| if i % 3 == 0 { panic!("three") } else { i });
        *counts.entry(format!("ok: {}", result.is_ok())).or_default() += 1;
        sorted.insert(i % 97, format!("{total:x}"));
    }
    println!("{total} {} {}", counts.len(), sorted.len());
}
