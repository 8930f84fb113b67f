//! Random streams: addresses, test vectors, laws, saved states.

use numerics::Error;
use numerics::rng::{Law, Role, Stream, probe};
use rand_pcg::Pcg64;

#[test]
fn addresses_have_known_keys_and_first_words() {
    assert_eq!(Stream::key(0, Role::RightProbe, 0, 0), 0xd1c0_2706_8798_4b37);
    let mut a = Stream::new(0, Role::RightProbe, 0, 0);
    assert_eq!((a.next_u64(), a.next_u64()), (0xfddd_a649_3f12_5f82, 0x7f08_c855_39e7_07be));
    assert_eq!(Stream::key(42, Role::InnerLeft, 7, 2), 0x4d2d_5eff_f94c_3f48);
    let mut b = Stream::new(42, Role::InnerLeft, 7, 2);
    assert_eq!((b.next_u64(), b.next_u64()), (0xc756_a1ea_bf2b_dfee, 0x6504_b2cc_f1bc_04db));
    assert_eq!(Role::OptimiserNoise as u64, 20);
}

#[test]
fn the_generator_is_pcg64() {
    use rand::Rng;
    let mut reference = Pcg64::new(42, 54);
    let state = format!("{:032x}:{:032x}", pcg_start(42, 54), (54u128 << 1) | 1);
    let mut ours = Stream::restore(&state).unwrap();
    for _ in 0..1000 {
        assert_eq!(ours.next_u64(), reference.next_u64());
    }
}

/// The state from which the reference draws its first word.
fn pcg_start(state: u128, stream: u128) -> u128 {
    let increment = (stream << 1) | 1;
    let multiplier = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645u128;
    state.wrapping_add(increment).wrapping_mul(multiplier).wrapping_add(increment)
}

#[test]
fn first_values_of_each_law_are_pinned() {
    for (law, want) in GOLDEN {
        let mut v = [0.0f64; 4];
        probe(law, 0, Role::RightProbe, 0, &mut v);
        assert_eq!(v, want, "{law}");
        let mut single = [0.0f32; 4];
        probe(law, 0, Role::RightProbe, 0, &mut single);
        assert!(single.iter().zip(&want).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6), "{law}");
    }
    // the first word, fddda649 3f125f82, from its lowest bit
    let mut v = [0.0f32; 8];
    Stream::new(0, Role::RightProbe, 0, 0).fill_signs(&mut v);
    assert_eq!(v, [1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1.0]);
}

#[test]
fn laws_have_mean_zero_and_unit_covariance() {
    let (n, draws) = (6, 40_000);
    for law in [Law::Rademacher, Law::Gaussian, Law::Sphere, Law::Coordinates] {
        let mut second = [[0.0f64; 6]; 6];
        let mut v = [0.0f64; 6];
        for c in 0..draws {
            probe(law, 5, Role::TestProbe, c, &mut v);
            for i in 0..n {
                for j in 0..n {
                    second[i][j] += v[i] * v[j] / draws as f64;
                }
            }
            if law == Law::Sphere || law == Law::Coordinates {
                assert!((v.iter().map(|x| x * x).sum::<f64>() - 6.0).abs() < 1e-12);
            }
        }
        for i in 0..n {
            for j in 0..n {
                // the widest law (coordinates) has a standard deviation of sqrt(5 / 40000) = 0.011
                assert!((second[i][j] - f64::from(u8::from(i == j))).abs() < 0.06, "{law} {i} {j} {}", second[i][j]);
            }
        }
    }
}

#[test]
fn integers_below_are_uniform_and_shuffles_are_permutations() {
    let mut s = Stream::new(1, Role::Shuffle, 0, 0);
    let mut counts = [0u32; 7];
    for _ in 0..70_000 {
        counts[s.below(7) as usize] += 1;
    }
    assert!(counts.iter().all(|c| (9_600..10_400).contains(c)), "{counts:?}");
    assert_eq!((s.below(1), s.below(0)), (0, 0));
    assert!((0..100).all(|_| s.below(u64::MAX) < u64::MAX));
    let mut items: Vec<usize> = (0..50).collect();
    s.shuffle(&mut items);
    assert_ne!(items, (0..50).collect::<Vec<_>>());
    items.sort_unstable();
    assert_eq!(items, (0..50).collect::<Vec<_>>());
    let mut first = [0u32; 5];
    for e in 0..20_000 {
        let mut five = [0, 1, 2, 3, 4];
        Stream::new(2, Role::Shuffle, e, 0).shuffle(&mut five);
        first[five[0]] += 1;
    }
    assert!(first.iter().all(|c| (3_750..4_250).contains(c)), "{first:?}");
}

#[test]
fn uniform_numbers_stay_below_one() {
    let mut s = Stream::new(3, Role::Init, 0, 0);
    let mut v = vec![0.0f32; 100_000];
    s.fill_uniform(&mut v);
    assert!(v.iter().all(|x| (0.0..1.0).contains(x)));
    let mean = v.iter().map(|x| f64::from(*x)).sum::<f64>() / 1e5;
    assert!((mean - 0.5).abs() < 0.005);
    let mut w = vec![0.0f64; 10];
    Stream::new(3, Role::Init, 0, 0).fill_uniform(&mut w);
    let mut t = Stream::new(3, Role::Init, 0, 0);
    assert!(w.iter().zip(&v).all(|(x, y)| *x == t.uniform() && (x - f64::from(*y)).abs() < 1e-7));
}

#[test]
fn a_saved_state_continues_exactly() {
    let mut a = Stream::new(9, Role::Search, 1, 2);
    for _ in 0..17 {
        a.normal();
    }
    let text = serde_json::to_string(&a).unwrap();
    let mut b: Stream = serde_json::from_str(&text).unwrap();
    assert!((0..100).all(|_| a.normal() == b.normal()));
    let even = format!("{:032x}:{:032x}", 1, 2);
    for bad in ["", ":", "1:1", "zz", even.as_str(), &"+".repeat(65)] {
        assert!(matches!(Stream::restore(bad), Err(Error::Format { .. })), "{bad}");
    }
    assert!(serde_json::from_str::<Stream>("\"xyz\"").is_err());
}

#[test]
fn laws_have_two_spellings() {
    for (name, law) in [
        ("signs", Law::Rademacher),
        ("rademacher", Law::Rademacher),
        ("gauss", Law::Gaussian),
        ("gaussian", Law::Gaussian),
        ("sphere", Law::Sphere),
        ("coordinates", Law::Coordinates),
    ] {
        assert_eq!(name.parse::<Law>().unwrap(), law);
        assert_eq!(law.to_string().parse::<Law>().unwrap(), law);
        assert_eq!(serde_json::from_str::<Law>(&format!("{name:?}")).unwrap(), law);
    }
    assert!("normal".parse::<Law>().unwrap_err().to_string().contains("normal"));
}

const GOLDEN: [(Law, [f64; 4]); 4] = [
    (Law::Rademacher, [1.0, -1.0, 1.0, 1.0]),
    (Law::Gaussian, [1.4964295540418653, -0.008381447459238732, 0.5321075744088178, 1.4406942479950247]),
    (Law::Sphere, [1.3957145051481428, -0.007817346136608895, 0.4962948358615512, 1.3437303840858892]),
    (Law::Coordinates, [0.0, 0.0, 0.0, 2.0]),
];
