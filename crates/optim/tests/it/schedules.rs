use optim::{Error, Schedule};

#[test]
fn corners() {
    let all = [Schedule::cosine(50, 0.2), Schedule::linear(50, 0.2), Schedule::wsd(50, 10, 0.2)];
    for s in all.map(|s| s.warmup(5)) {
        s.check().unwrap();
        assert_eq!([0, 1, 4].map(|t| s.at(t)), [0.2, 0.4, 1.0]);
        assert_eq!(s.at(5), 1.0);
        assert!((s.at(50) - 0.2).abs() < 1e-15 && s.at(50) == s.at(u64::MAX));
        for t in 5..50 {
            assert!(s.at(t + 1) <= s.at(t) && s.at(t) > 0.2);
        }
    }
    let half = |s: Schedule| s.at(25);
    assert!((half(all[0]) - 0.6).abs() < 1e-15);
    assert!((half(all[1]) - 0.6).abs() < 1e-15);
    assert_eq!(all[2].at(40), 1.0);
    assert!((all[2].at(45) - 0.6).abs() < 1e-15);
    assert!((all[0].at(10) - (0.2 + 0.4 * (1.0 + (0.2 * core::f64::consts::PI).cos()))).abs() < 1e-15);
    assert_eq!([0, 7, u64::MAX].map(|t| Schedule::constant().at(t)), [1.0; 3]);
}

#[test]
fn nothing_left_to_decay() {
    for s in [Schedule::cosine(0, 0.5), Schedule::linear(0, 0.5), Schedule::wsd(0, 0, 0.5)] {
        assert_eq!((s.at(0), s.at(9)), (0.5, 0.5));
    }
    let s = Schedule::wsd(10, 0, 0.0);
    assert_eq!((s.at(9), s.at(10)), (1.0, 0.0));
}

#[test]
fn impossible() {
    let bad = [
        Schedule::cosine(10, -0.1),
        Schedule::linear(10, f64::NAN),
        Schedule::linear(10, 0.0).warmup(11),
        Schedule::wsd(10, 6, 0.0).warmup(5),
        Schedule::wsd(10, 11, 0.0),
    ];
    for s in bad {
        assert!(matches!(s.check(), Err(Error::Setting { .. })), "{s:?}");
    }
}

#[test]
fn text() {
    let s = Schedule::wsd(10, 3, 0.1).warmup(2);
    let text = serde_json::to_string(&s).unwrap();
    assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), s);
    let constant: Schedule = serde_json::from_str(r#"{"shape":"constant"}"#).unwrap();
    assert_eq!(constant, Schedule::constant());
    let unknown = r#"{"shape":"linear","total":10,"floor":0.0,"flor":1.0}"#;
    assert!(serde_json::from_str::<Schedule>(unknown).is_err());
}
