use super::*;
use proptest::prelude::*;

/// One run: `loss` 0.25, `acc` not a number, a few texts.
struct One;

impl Row for One {
    fn text(&self, column: &Column) -> Option<String> {
        let text = match column {
            Column::Param(key) if key == "lr" => "0.1",
            Column::Param(key) if key == "my name" => "it's",
            Column::Tag(key) if key == "mlflow.user" => "Minji",
            Column::Tag(key) if key == "한글" => "값 100%",
            Column::Attribute(Attribute::Status) => "FINISHED",
            Column::Attribute(Attribute::Id) => "aa",
            Column::Attribute(Attribute::Name) => "warm up",
            _ => return None,
        };
        Some(text.to_owned())
    }

    fn number(&self, column: &Column) -> Option<f64> {
        match column {
            Column::Metric(key) if key == "loss" || key == "val/loss-1" => Some(0.25),
            Column::Metric(key) if key == "acc" => Some(f64::NAN),
            Column::Attribute(Attribute::Started) => Some(1_700_000_000_000.0),
            _ => None,
        }
    }
}

#[test]
fn what_holds() {
    for (text, expected) in [
        ("", true),
        ("  ", true),
        ("metrics.loss < 0.5", true),
        ("metric.loss<0.25", false),
        ("metrics.loss >= 2.5e-1 and params.lr = '0.1'", true),
        ("metrics.loss > -1 AND metrics.loss != .5", true),
        ("metrics.`val/loss-1` = 0.25", true),
        ("metrics.val/loss-1 <= 0.25", true),
        ("metrics.acc > 0", false),
        ("metrics.acc != 0", true),
        ("metrics.missing != 0", false),
        ("params.\"my name\" = 'it''s'", true),
        ("params.lr != '0.1'", false),
        ("params.missing != 'x'", false),
        ("params.missing IS NULL", true),
        ("params.lr is not null", true),
        ("tags.mlflow.user LIKE 'M%'", true),
        ("tags.mlflow.user LIKE 'm%'", false),
        ("tag.mlflow.user ILIKE 'm_nJ%'", true),
        ("tags.`한글` LIKE '%0%%'", true),
        ("tags.한글 = '값 100%'", true),
        ("status = 'FINISHED'", true),
        ("attributes.status IN ('RUNNING', 'FINISHED')", true),
        ("attributes.run_id NOT IN ('aa','bb')", false),
        ("run_name = \"warm up\"", true),
        ("`Run name` LIKE 'warm%'", true),
        ("attributes.`Run name` LIKE '%'", true),
        ("start_time > 1600000000000", true),
        ("attributes.created < 1", false),
        ("end_time > 0", false),
    ] {
        let filter = Filter::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
        assert_eq!(filter.takes(&One), expected, "{text}");
    }
}

#[test]
fn what_makes_no_sense_is_told() {
    for (text, told) in [
        ("metrics.loss", "the end stands where a comparison"),
        ("metrics.loss < 'x'", "the text \"x\" stands where a number"),
        ("params.lr = 0.1", "0.1 stands where a text in quotes"),
        ("params.lr < '1'", "< stands where =, !=, LIKE or ILIKE"),
        ("a = 'b' OR c = 'd'", "no attribute \"a\""),
        ("status = 'a' OR status = 'b'", "\"OR\" stands where AND"),
        ("datasets.name = 'x'", "nothing that runs are found by"),
        ("params.a = 'x", "has no other at its end"),
        ("metrics.loss < 1.2.3", "is no number"),
        ("metrics.loss < 12ab", "is no number"),
        ("; DROP TABLE points", "has no meaning here"),
        ("params.lr IN ('a')", "stands where a comparison"),
        ("status IN ()", "stands where a text in quotes"),
        ("AND", "no attribute \"AND\""),
        ("metrics.loss IS NULL", "stands where a comparison"),
    ] {
        let problem = Filter::parse(text).unwrap_err();
        assert!(problem.detail.contains(told), "{text}: {problem}");
        assert_eq!(problem.status, 422);
    }
    let long = vec!["status = 'a'"; 31].join(" AND ");
    assert!(Filter::parse(&long).unwrap_err().detail.contains("30 clauses"));
    assert!(
        Filter::parse(&"x".repeat(8_001))
            .unwrap_err()
            .detail
            .contains("8000 bytes")
    );
}

/// A run whose loss is this.
struct Loss(Option<f64>, &'static str);

impl Row for Loss {
    fn text(&self, _: &Column) -> Option<String> {
        (!self.1.is_empty()).then(|| self.1.to_owned())
    }

    fn number(&self, _: &Column) -> Option<f64> {
        self.0
    }
}

#[test]
fn what_is_missing_comes_last_either_way() {
    let sorted = |order: &str| {
        let order = Order::parse([order]).unwrap();
        let mut rows = [
            Loss(None, "none"),
            Loss(Some(2.0), "two"),
            Loss(Some(f64::NAN), "nan"),
            Loss(Some(f64::NEG_INFINITY), "least"),
            Loss(Some(2.0), ""),
        ];
        rows.sort_by(|a, b| order.compare(a, b));
        rows.iter().map(|row| row.1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(sorted("metrics.loss"), "least two  nan none");
    assert_eq!(sorted("metrics.loss DESC"), "two  least nan none");
    assert_eq!(sorted("metrics.loss desc, tags.x desc"), "two  least nan none");
    assert_eq!(sorted("params.`a b` ASC"), "least nan none two ");
    assert_eq!(sorted("params.x DESC"), "two none nan least ");
    for bad in ["metrics.loss DOWN", "metrics.", "'x'", "metrics.loss,,", "< ASC"] {
        assert!(Order::parse([bad]).is_err(), "{bad}");
    }
}

/// Parts of filters, mixed.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "metrics.",
        "params.",
        "tags.",
        "attributes.",
        "loss",
        "`",
        "'",
        "\"",
        " ",
        "AND",
        "IS",
        "NOT",
        "NULL",
        "IN",
        "LIKE",
        "%",
        "_",
        "(",
        ")",
        ",",
        "<",
        "=",
        "!=",
        "1",
        "-",
        ".",
        "e",
        "9e999",
        "한",
        "\u{301}",
        "\0",
        "status",
    ]);
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = Filter::parse(&text).map(|filter| filter.takes(&One));
        let _ = Order::parse([&*text]).map(|order| order.compare(&One, &One));
    }

    #[test]
    fn nor_do_pieces_of_filters(text in pieces()) {
        let _ = Filter::parse(&text).map(|filter| filter.takes(&One));
        let _ = Order::parse([text.as_str()]).map(|order| order.compare(&One, &One));
    }

    #[test]
    fn like_is_what_it_says(pattern in "[ab%_]{0,8}", text in "[ab]{0,8}") {
        fn slowly(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern.first(), text.first()) {
                (None, _) => text.is_empty(),
                (Some(b'%'), _) => slowly(&pattern[1..], text) || (!text.is_empty() && slowly(pattern, &text[1..])),
                (Some(p), Some(t)) => (*p == b'_' || p == t) && slowly(&pattern[1..], &text[1..]),
                (Some(_), None) => false,
            }
        }
        let quickly = Pattern::new(&pattern, false).takes(&text);
        prop_assert_eq!(quickly, slowly(pattern.as_bytes(), text.as_bytes()));
    }
}
