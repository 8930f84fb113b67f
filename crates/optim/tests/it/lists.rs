use crate::common::{bits, mixed, wave};
use optim::{
    AdamW, AdamWConfig, Error, Grads, Method, MuonConfig, Optimizer, ParamGroup, ParamList, clip_global_norm,
    global_norm,
};

#[test]
fn offsets_and_errors() {
    let mut list = mixed();
    let ranges: Vec<_> = list.params().iter().map(|p| p.range()).collect();
    assert_eq!(ranges, [0..6, 6..7, 7..7, 7..18]);
    assert_eq!((list.find("vector"), list.find("none"), list.len()), (Some(3), None, 18));
    assert_eq!(list.group_of(&list.params()[1]).name, "b");
    assert_eq!(list.push("matrix", &[1], 0), Err(Error::DuplicateParameter { name: "matrix".into() }));
    assert!(matches!(list.push("x", &[1], 2), Err(Error::UnknownGroup { group: 2, groups: 2, .. })));
    assert!(matches!(list.push("x", &[usize::MAX, 2], 0), Err(Error::TooLarge { .. })));
    assert!(matches!(list.push("x", &[usize::MAX], 0), Err(Error::TooLarge { .. })));
    assert_eq!((list.len(), list.params().len()), (18, 4));
    assert!(ParamList::new().is_empty());
}

#[test]
fn clipping() {
    let list = mixed();
    let g: Vec<f64> = wave(18, 2);
    let norm = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>().sqrt();
    let mut clipped = g.clone();
    let clip = clip_global_norm(&list, &mut clipped, None, 0.5).unwrap();
    assert!((clip.norm - norm(&g)).abs() < 1e-14);
    assert!((norm(&clipped) - 0.5).abs() < 1e-15);
    assert!((clipped[3] / g[3] - clip.scale).abs() < 1e-15);

    let mut same = g.clone();
    assert_eq!(clip_global_norm(&list, &mut same, None, 1e3).unwrap().scale, 1.0);
    assert_eq!(bits(&same), bits(&g));

    // Only what is present counts and changes.
    let mut part = g.clone();
    part[..6].fill(f64::NAN);
    let clip = clip_global_norm(&list, &mut part, Some(&[false, true, true, true]), 0.1).unwrap();
    assert!((clip.norm - norm(&g[6..])).abs() < 1e-14);
    assert!(part[..6].iter().all(|x| x.is_nan()));
    assert!((norm(&part[6..]) - 0.1).abs() < 1e-15);

    // A norm that is not finite changes nothing.
    let mut bad = g.clone();
    bad[9] = f64::INFINITY;
    let before = bits(&bad);
    let clip = clip_global_norm(&list, &mut bad, None, 0.1).unwrap();
    assert_eq!((clip.norm, clip.scale, bits(&bad)), (f64::INFINITY, 1.0, before));
    bad[2] = f64::NAN;
    assert!(clip_global_norm(&list, &mut bad, None, 0.1).unwrap().norm.is_nan());

    for limit in [0.0, -1.0, f64::NAN] {
        assert!(matches!(clip_global_norm(&list, &mut bad, None, limit), Err(Error::Setting { .. })));
    }
    assert!(matches!(clip_global_norm(&list, &mut bad[1..], None, 1.0), Err(Error::Length { .. })));
    assert!(matches!(clip_global_norm(&list, &mut bad, Some(&[true]), 1.0), Err(Error::Length { .. })));
}

#[test]
fn norms_at_the_ends_of_the_range() {
    let mut list = ParamList::new();
    let g = list.add_group(ParamGroup::new("all"));
    list.push("w", &[2], g).unwrap();
    for unit in [1e-310, 1e-200, 1e-100, 1.0, 1e200, 1e307] {
        let norm = global_norm(&list, Grads::all(&[3.0 * unit, 4.0 * unit])).unwrap();
        assert!((norm / (5.0 * unit) - 1.0).abs() < 1e-12, "{unit} {norm}");
    }
    assert_eq!(global_norm(&list, Grads::all(&[0.0, 0.0])).unwrap(), 0.0);
    // Squares of f32 are summed in f64.
    let norm = global_norm(&list, Grads::all(&[3e30_f32, 4e30])).unwrap();
    assert!((norm / 5e30 - 1.0).abs() < 1e-6);
}

/// A group's factor scales the rates of matrices and of vectors; a first-order group is AdamW, bit for bit.
#[test]
fn groups_scale_rates_and_choose_the_rule() {
    let run = |mut method: Box<dyn Optimizer<f64>>, group: ParamGroup| {
        let mut list = ParamList::new();
        let g = list.add_group(group);
        list.push("w", &[3, 2], g).unwrap();
        list.push("b", &[4], g).unwrap();
        method.init(&list).unwrap();
        let mut w: Vec<f64> = wave(list.len(), 1);
        for t in 0..4 {
            method.step(&mut w, Grads::all(&wave(list.len(), t)), 1.0).unwrap();
        }
        bits(&w)
    };
    let adam = |lr: f64| AdamWConfig { lr, ..AdamWConfig::default() };
    let muon = |lr: f64, vectors: f64| -> Box<dyn Optimizer<f64>> {
        Method::Muon(MuonConfig { lr, vectors: adam(vectors), ..MuonConfig::default() }).build().unwrap()
    };
    let plain = || ParamGroup::new("all");
    assert_eq!(run(muon(0.5, 0.25), plain().lr_factor(0.5)), run(muon(0.25, 0.125), plain()));
    assert_eq!(run(muon(0.5, 0.25), plain().lr(0.125).lr_factor(2.0)), run(muon(0.25, 0.25), plain()));
    let adamw = Box::new(AdamW::new(adam(0.25)).unwrap());
    assert_eq!(run(muon(0.5, 0.25), plain().first_order()), run(adamw, plain()));
    assert_ne!(run(muon(0.5, 0.25), plain().first_order()), run(muon(0.5, 0.25), plain()));
}
