//! `osculate optimize` through the binary: the problems against their recorded counts, and what it refuses.

use std::process::{Command, Output};

fn osculate(words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osculate"));
    command.arg("optimize").args(words.split_whitespace()).output().expect("the binary runs")
}

fn json(words: &str) -> serde_json::Value {
    let o = osculate(&format!("{words} --json"));
    assert!(o.status.success(), "{words}: {}", String::from_utf8_lossy(&o.stderr));
    serde_json::from_slice(&o.stdout).expect("one JSON object")
}

/// Counts of the tables, which other draws of the problem share to 10 % (matrices) and 15 % in the median (functions).
#[test]
fn matrices_arrive_in_the_recorded_number_of_steps() {
    for (words, expected) in [
        ("--problem log-det --method spectral", 69.0),
        ("--problem log-det --method rgd --step 0.25", 22.0),
        ("--problem log-det --method spectral --dim 60 --cond 1e4 --step 0.25", 39.0),
        ("--problem nearness --method rgd", 1161.0),
    ] {
        let v = json(words);
        let found = v["iterations"].as_f64().unwrap();
        assert!((found / expected - 1.0).abs() <= 0.1, "{words}: {found}, expected {expected}");
        assert!(v["reached"] == true && v["stopped"] == "target" && v["value"].as_f64().unwrap() < 1e-10);
        assert_eq!(v["history"].as_array().unwrap().len() as f64, found + 1.0);
        if words.contains("spectral") {
            assert!(v["orthogonality_defect"].as_f64().unwrap() < 1e-12);
        }
    }
}

#[test]
fn the_solution_of_log_det_is_an_inverse() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.npy");
    json(&format!("--problem log-det --method spectral --dim 5 --seed 3 --save {}", file.display()));
    let s = osculate::io::npy::read(&file).unwrap().columns::<f64>().unwrap();
    let problem = optim::problems::SpdProblem::log_det(5, 100.0, 3).unwrap();
    let product = &s * problem.q();
    for i in 0..5 {
        for j in 0..5 {
            assert!((product[(i, j)] - f64::from(u8::from(i == j))).abs() < 1e-4, "{i} {j}: {}", product[(i, j)]);
        }
    }
}

#[test]
fn functions_are_minimised_by_values() {
    for (words, least, most) in [
        ("--problem sphere --method cma", 1100, 1900),
        ("--problem sphere --method spectral", 4800, 6800),
        ("--problem rosenbrock --method xnes", 7500, 13500),
        ("--problem cigar --rotated --method cma --seed 2", 3500, 5500),
    ] {
        let v = json(words);
        let found = v["evaluations"].as_u64().unwrap();
        assert!((least..=most).contains(&found) && v["reached"] == true, "{words}: {found}");
    }
    let v = json("--problem ackley --method spectral --budget 100");
    assert_eq!((v["reached"].as_bool(), v["stopped"].as_str()), (Some(false), Some("budget")));
    assert!((100..120).contains(&v["evaluations"].as_u64().unwrap()));
    // The same seed, the same numbers, whatever the threads.
    let run = |threads: u32| json(&format!("--problem cigar --method cma --threads {threads}"))["history"].clone();
    assert_eq!(run(1), run(2));
}

#[test]
fn a_method_that_breaks_down_says_where() {
    let v = json("--problem log-det --method first-order --seed 1");
    assert_eq!(v["reached"], false);
    assert!(v["stopped"].as_str().unwrap().contains("positive definite"), "{v}");
    let o = osculate("--problem log-det --method first-order");
    let text = String::from_utf8(o.stdout).unwrap();
    assert!(
        o.status.success() && text.contains("log-det by first-order, 20 x 20") && text.contains("stopped by"),
        "{text}"
    );
}

#[test]
fn mistakes_are_one_line() {
    for (words, status, part) in [
        ("--problem sphere", 2, "--method"),
        ("--problem cube --method cma", 2, "log-det, nearness, sphere"),
        ("--problem sphere --method rgd", 2, "sphere has spectral, xnes and cma"),
        ("--problem log-det --method cma", 2, "log-det has spectral, rgd and first-order"),
        ("--problem sphere --method cma --cond 3", 2, "--cond and --step belong to log-det"),
        ("--problem log-det --method rgd --rotated", 2, "--rotated belongs to functions"),
        ("--problem sphere --method xnes --restarts", 2, "--restarts belongs to cma"),
        ("--problem sphere --method xnes --rotation gradient", 2, "belong to spectral"),
        ("--problem sphere --method cma --dim 0", 2, "--dim 0: expected 1 to 4096"),
        ("--problem sphere --method cma --dim 100000000000", 2, "expected 1 to 4096"),
        ("--problem rosenbrock --method cma --dim 1", 1, "dim"),
        ("--problem log-det --method rgd --cond 0.5", 1, "condition: 0.5"),
        ("--problem log-det --method rgd --cond NaN", 1, "condition: NaN"),
        ("--problem log-det --method rgd --step -1", 1, "step: -1"),
        ("--problem log-det --method rgd --target NaN", 2, "--target NaN"),
        ("--problem log-det --method rgd --dtype f32", 2, "optimize computes in f64"),
        ("--problem log-det --method rgd --save s.txt", 2, "ends in .npy"),
    ] {
        let o = osculate(words);
        let text = String::from_utf8(o.stderr).unwrap();
        assert!(text.starts_with("error: ") && text.lines().count() == 1 && o.stdout.is_empty(), "{words}: {text}");
        assert!(o.status.code() == Some(status) && text.contains(part), "{words}: {text}");
    }
}
