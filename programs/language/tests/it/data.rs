//! From text on a disk to token files, and from a model on a disk to text.

#![allow(clippy::unwrap_used, reason = "what is a test's helper, clippy can't tell")]

use language::{Corpus, CorpusError, Limits, Tokenizer, Tokens, Windows, load, prepare};
use language::{Family, ModelConfig, to_checkpoint};
use nn::Model;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use train::Samples;

/// Numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) % bound as u64) as usize
    }
}

/// Reviews of about 40 bytes, no two the same: few words, many of them as frequent as others, and laughter
/// of any length.
fn reviews(count: usize) -> Vec<String> {
    let words = [
        "영화",
        "재밌다",
        "정말",
        "별로",
        "배우",
        "감동",
        "good",
        "최고의",
        "시간이",
        "아깝다",
    ];
    let mut random = Random(count as u64);
    let review = |i: usize| {
        let mut review = format!("{i}번째");
        for _ in 0..2 + random.below(3) {
            review += " ";
            review += words[random.below(words.len())];
        }
        review + &["ㅋ", "ㅠ", "!", "."][random.below(4)].repeat(random.below(12))
    };
    (0..count).map(review).collect()
}

fn table(reviews: &[String]) -> String {
    reviews.iter().map(|review| format!("10\t{review}\n")).collect()
}

fn ratings(reviews: &[String]) -> String {
    let rows = reviews.iter().enumerate();
    let rows: String = rows
        .map(|(id, review)| format!("{id}\t{review}\t1\r\n"))
        .collect();
    format!("id\tdocument\tlabel\r\n{rows}")
}

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        fs::write(dir.join(name), text).unwrap();
    }
}

const WIDE: Limits = Limits {
    train_bytes: u64::MAX,
    valid_bytes: u64::MAX,
};

#[test]
fn a_corpus_is_read_from_what_people_have() {
    let all = reviews(1_000);
    let (some, others) = all.split_at(900);
    let lines = all.join("\n");
    let paragraphs = some.join("\n\n");
    let (table_some, table_others) = (table(some), table(others));
    let (ratings_some, ratings_others) = (ratings(some), ratings(others));
    let judged_by = Some(others);
    check_read(&[("a.txt", &lines)], "a.txt", &all, None);
    check_read(&[("a.md", &paragraphs)], "a.md", some, None);
    check_read(&[("ratings.txt", &ratings_some)], "ratings.txt", some, None);
    let pair = [("train.tsv", table_some.as_str()), ("valid.tsv", &table_others)];
    check_read(&pair, "train.tsv", some, None);
    check_read(&pair, "", &all, judged_by);
    check_read(
        &[pair[0], pair[1], ("more.tsv", &table_some)],
        "",
        &all,
        judged_by,
    );
    let nsmc = [
        ("ratings.txt", ratings_some.as_str()),
        ("ratings_train.txt", &ratings_some),
        ("ratings_test.txt", &ratings_others),
    ];
    check_read(&nsmc, "", &all, judged_by);
    let forms = [
        ("a.txt", paragraphs.as_str()),
        ("b.TSV", &table_others),
        ("empty.txt", ""),
    ];
    check_read(&forms, "", &all, None);
    let settings = "{\n  \"text\": 1\n}\n";
    let hidden = [
        ("a.txt", lines.as_str()),
        (".a.txt", &lines),
        ("b.json", settings),
        ("b.md", &lines),
    ];
    check_read(&hidden, "", &all, None);
    let (json_some, json_others) = (json_lines(some), json_lines(others));
    check_read(&[("a.ndjson", &json_some)], "a.ndjson", some, None);
    check_read(
        &[("train.jsonl", &json_some), ("valid.jsonl", &json_others)],
        "",
        &all,
        judged_by,
    );
    check_read(
        &[("a.JSON", &json_some), ("b.tsv", &table_others)],
        "",
        &all,
        None,
    );
}

fn json_lines(reviews: &[String]) -> String {
    let line = |review: &String| serde_json::json!({ "id": 7, "document": review }).to_string() + "\n";
    reviews.iter().map(line).collect()
}

/// Reads `read` in a folder with `files`: each of `found` is there once, and `judged_by` are to be judged by;
/// or a part of them, if that is none.
fn check_read(files: &[(&str, &str)], read: &str, found: &[String], judged_by: Option<&[String]>) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), files);
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    let corpus = Corpus::read(&dir.path().join(read), WIDE).unwrap();
    let together: BTreeSet<&String> = corpus.train.iter().chain(&corpus.valid).collect();
    assert_eq!(together, found.iter().collect(), "{names:?}");
    assert_eq!(corpus.train.len() + corpus.valid.len(), found.len(), "{names:?}");
    let (train_bytes, valid_bytes) = (corpus.train_bytes(), corpus.valid_bytes());
    assert_eq!(corpus.found_bytes, train_bytes + valid_bytes, "{names:?}");
    match judged_by {
        Some(valid) => assert_eq!(corpus.valid, valid, "{names:?}"),
        None => assert!(
            (1_000..5_000).contains(&valid_bytes),
            "{valid_bytes} of {names:?}"
        ),
    }
}

#[test]
fn a_large_text_is_taken_from_all_over() {
    let all = reviews(20_000);
    let text = all.join("\n");
    let limits = Limits {
        train_bytes: 100_000,
        valid_bytes: 10_000,
    };
    let corpus = Corpus::from_text("all", &text, limits).unwrap();
    assert_eq!(corpus, Corpus::from_text("all", &text, limits).unwrap());
    for (part, limit) in [(&corpus.train, 100_000), (&corpus.valid, 10_000)] {
        let bytes: usize = part.iter().map(String::len).sum();
        assert!(bytes <= limit && bytes * 10 > limit * 9, "{bytes} of {limit}");
        let number = |review: &String| review.split_once("번째").unwrap().0.parse::<usize>().unwrap();
        let late = part.iter().filter(|review| number(review) >= 10_000).count();
        assert!(
            late.abs_diff(part.len() - late) <= part.len() / 50,
            "{late} of {}",
            part.len()
        );
        assert!(part.iter().map(number).is_sorted());
    }
    let train: BTreeSet<&String> = corpus.train.iter().collect();
    assert!(corpus.valid.iter().all(|review| !train.contains(review)));

    // Without limits, three of a hundred bytes are kept back.
    let corpus = Corpus::from_text("all", &text, WIDE).unwrap();
    let percent = corpus.valid_bytes() as f64 / corpus.found_bytes as f64 * 100.0;
    assert!((2.8..=3.0).contains(&percent), "{percent}");
}

#[test]
fn what_is_wrong_with_a_corpus_is_told() {
    let text = reviews(400).join("\n");
    let rows = table(&reviews(400));
    let with = |start: &[u8], wrong: &[u8]| [start, wrong, text.as_bytes()].concat();
    let cp949 = "convert it with iconv -f CP949 -t UTF-8";
    let cases: [(&str, Vec<u8>, &str); 11] = [
        ("empty.txt", Vec::new(), "empty.txt is empty"),
        ("blank.txt", b" \n\r\n\t\n".into(), "blank.txt has no text"),
        ("bom.txt", "\u{feff}\n".into(), "bom.txt has no text"),
        ("table.tsv", "1\t \n2\t\n".into(), "has 2 bytes of text"),
        (
            "small.txt",
            "one\ntwo\n".into(),
            "has 6 bytes of text and 8000 are needed",
        ),
        (
            "start.txt",
            with(b"", b"\xB0"),
            &format!("not UTF-8 at line 1, byte 1: {cp949}"),
        ),
        (
            "line.txt",
            with("가\n나\nab".as_bytes(), b"\xB0\xA1"),
            "not UTF-8 at line 3, byte 11: ",
        ),
        (
            "cut.txt",
            [text.as_bytes(), b"\xEA\xB0"].concat(),
            "not UTF-8 at line 400, byte ",
        ),
        (
            "utf16.txt",
            with(b"", b"\xFF\xFE"),
            "at line 1, byte 1: convert it with iconv -f UTF-16 -t UTF-8",
        ),
        (
            "odd.tsv",
            (rows.clone() + "\n1\ta\tb\n").into(),
            "3 tab-separated columns at line 402 and 2 at line 1",
        ),
        (
            "none.tsv",
            (text.clone() + "\na\tb").into(),
            "2 tab-separated columns at line 401 and 1 at line 1",
        ),
    ];
    for (name, bytes, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), bytes).unwrap();
        let error = Corpus::read(&dir.path().join(name), WIDE)
            .unwrap_err()
            .to_string();
        assert!(error.contains(name) && error.contains(expected), "{error}");
    }

    let dir = tempfile::tempdir().unwrap();
    let read = |path: &Path| Corpus::read(path, WIDE).unwrap_err();
    assert!(matches!(read(dir.path()), CorpusError::NoFiles(_)));
    assert!(matches!(
        read(&dir.path().join("away.txt")),
        CorpusError::Missing(_)
    ));
    assert!(matches!(read(Path::new("/dev/null")), CorpusError::Kind(_)));
    write(dir.path(), &[("train.tsv", &rows), ("valid.tsv", "1\tgood\n")]);
    let error = read(dir.path()).to_string();
    assert!(
        error.contains("valid.tsv has 4 bytes of text and 2000 are needed"),
        "{error}"
    );
    write(dir.path(), &[("valid.tsv", "")]);
    assert!(read(dir.path()).to_string().contains("valid.tsv is empty"));
}

#[test]
fn a_column_is_taken_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let rows: String = reviews(300)
        .iter()
        .map(|review| format!("{review}\tshort {review}\n"))
        .collect();
    write(dir.path(), &[("a.tsv", &format!("review\tsummary\n{rows}"))]);
    let read = |field| Corpus::read_field(&dir.path().join("a.tsv"), Some(field), WIDE);
    assert!(
        read("summary")
            .unwrap()
            .train
            .iter()
            .all(|text| text.starts_with("short "))
    );
    assert!(
        read("review")
            .unwrap()
            .train
            .iter()
            .all(|text| !text.contains("short "))
    );
    let error = read("text").unwrap_err().to_string();
    assert!(
        error.contains("a.tsv line 1 has no field \"text\": it has review, summary"),
        "{error}"
    );
}

/// The same files in processes with other seeds of their hash tables and other numbers of threads. The test
/// runs itself as a child, which a variable tells where to write.
#[test]
fn a_corpus_is_prepared_to_the_same_bytes_everywhere() {
    const VARIABLE: &str = "LANGUAGE_TEST_PREPARE_IN";
    if let Some(dir) = env::var_os(VARIABLE) {
        let corpus = Corpus::from_text("reviews", &reviews(3_000).join("\n"), WIDE).unwrap();
        prepare(&corpus, 700, Path::new(&dir), &mut |_| {}).unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let prepared_with = |threads: &str| {
        let dir = dir.path().join(threads);
        let child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "data::a_corpus_is_prepared_to_the_same_bytes_everywhere",
            ])
            .env(VARIABLE, &dir)
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        assert!(
            child.status.success(),
            "{}",
            String::from_utf8_lossy(&child.stdout)
        );
        ["tokenizer.json", "train.tokens", "valid.tokens"].map(|file| fs::read(dir.join(file)).unwrap())
    };
    let first = prepared_with("1");
    assert!(first == prepared_with("3"));
    assert!(first == prepared_with("4"));
}

#[test]
fn what_is_prepared_is_the_text() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = reviews(600);
    all[7] = "it says <|end|> and goes on 🎬".into();
    let corpus = Corpus::from_text("reviews", &all.join("\r\n"), WIDE).unwrap();
    let mut stages = Vec::new();
    let prepared = prepare(&corpus, 400, dir.path(), &mut |stage| stages.push(stage)).unwrap();
    assert_eq!((prepared.vocab, prepared.end), (400, 0));
    let documents = (prepared.train_documents, prepared.valid_documents);
    assert_eq!(documents, (corpus.train.len() as u64, corpus.valid.len() as u64));
    assert_eq!(stages.len(), 3, "{stages:?}");

    let tokenizer = Tokenizer::open(&prepared.files[0]).unwrap();
    assert_eq!((tokenizer.vocab(), tokenizer.end()), (400, 0));
    let parts = [
        (
            &corpus.train,
            &prepared.files[1],
            prepared.train_tokens,
            prepared.train_bytes,
        ),
        (
            &corpus.valid,
            &prepared.files[2],
            prepared.valid_tokens,
            prepared.valid_bytes,
        ),
    ];
    for (documents, file, count, bytes) in parts {
        let tokens = Tokens::open(file).unwrap();
        let told = (tokens.vocab(), tokens.len_tokens(), tokens.text_bytes());
        assert_eq!(told, (400, count, bytes));
        let row = tokens.read(0, count as usize);
        let texts = row.split_inclusive(|&token| token == 0).map(|tokens| {
            assert_eq!(tokens.last(), Some(&0), "each document has its end");
            tokenizer.decode(tokens)
        });
        assert_eq!(&texts.collect::<Vec<_>>(), documents);
        assert_eq!(documents.iter().map(String::len).sum::<usize>() as u64, bytes);
        assert!(count < bytes / 2, "{count} tokens for {bytes} bytes");
    }
}

/// A Parquet file of ids, names and reviews: three row groups, the last review of each null.
fn parquet_file(reviews: &[String], column: &str, compression: Compression, dictionary: bool) -> Vec<u8> {
    let schema = format!(
        "message m {{ REQUIRED INT64 id; REQUIRED BYTE_ARRAY name (UTF8); OPTIONAL BYTE_ARRAY {column} (UTF8);
         OPTIONAL GROUP tags (LIST) {{ REPEATED GROUP list {{ OPTIONAL BYTE_ARRAY element (UTF8); }} }} }}"
    );
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_dictionary_enabled(dictionary)
        .set_data_page_row_count_limit(50);
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties.build())).unwrap();
    for part in reviews.chunks(reviews.len().div_ceil(3)) {
        let mut group = writer.next_row_group().unwrap();
        let ids: Vec<i64> = (0..=part.len() as i64).collect();
        let names = vec![ByteArray::from("a"); ids.len()];
        let texts: Vec<ByteArray> = part.iter().map(|review| review.as_str().into()).collect();
        let present: Vec<i16> = ids
            .iter()
            .map(|&id| i16::from((id as usize) < part.len()))
            .collect();
        let none = vec![0; ids.len()];
        let mut next = group.next_column().unwrap().unwrap();
        next.typed::<Int64Type>().write_batch(&ids, None, None).unwrap();
        next.close().unwrap();
        for (values, levels, repeats) in [
            (&names, None, None),
            (&texts, Some(present.as_slice()), None),
            (&Vec::new(), Some(none.as_slice()), Some(none.as_slice())),
        ] {
            let mut next = group.next_column().unwrap().unwrap();
            next.typed::<ByteArrayType>()
                .write_batch(values, levels, repeats)
                .unwrap();
            next.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

#[test]
fn a_parquet_file_is_read_however_it_is_written() {
    let all = reviews(600);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let compressions = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ];
    for (i, compression) in compressions.into_iter().enumerate() {
        for (column, dictionary) in [("text", true), ("review", false)] {
            fs::write(&path, parquet_file(&all, column, compression, dictionary)).unwrap();
            let corpus = Corpus::read(&path, WIDE).unwrap();
            let found: BTreeSet<&String> = corpus.train.iter().chain(&corpus.valid).collect();
            assert_eq!(found, all.iter().collect(), "{i} {column}");
        }
    }
    // Beside other formats, with its column named.
    fs::write(dir.path().join("b.jsonl"), "{\"name\":\"b\"}\n".repeat(9_000)).unwrap();
    let corpus = Corpus::read_field(dir.path(), Some("name"), WIDE).unwrap();
    assert_eq!(corpus.found_bytes, 9_000 + 603);

    let error = |field| {
        Corpus::read_field(&path, Some(field), WIDE)
            .unwrap_err()
            .to_string()
    };
    let has = "it has \"id\" (int64), \"name\" (text), \"review\" (text), \"tags.list.element\" (a list)";
    for field in ["tags.list.element", "id", "missing"] {
        let error = error(field);
        assert!(
            error.contains(&format!("a.parquet has no field \"{field}\": {has}")),
            "{error}"
        );
    }
}

#[test]
fn a_damaged_parquet_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let all = reviews(600);
    let plain = parquet_file(&all, "text", Compression::UNCOMPRESSED, false);
    let find = |wanted: &[u8]| {
        plain
            .windows(wanted.len())
            .position(|some| some == wanted)
            .unwrap()
    };
    let mut other = plain.clone();
    other[find("영화".as_bytes())] = 0xFF;
    let cases: [(&[u8], &str); 4] = [
        (b"", "a.parquet can't be read as Parquet: "),
        (b"PAR1PAR1PAR1", "can't be read as Parquet: "),
        (
            &plain[..plain.len() / 2],
            "if it is not whole, copy or download it again",
        ),
        (&other, "is not UTF-8"),
    ];
    for (bytes, expected) in cases {
        fs::write(&path, bytes).unwrap();
        let error = Corpus::read(&path, WIDE).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let mut random = Random(11);
    let compressions = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ];
    for compression in compressions {
        let whole = parquet_file(&all[..300], "review", compression, true);
        for turn in 0..150 {
            let mut bytes = mutated(&whole, &mut random);
            if turn % 2 == 0 {
                // In the metadata at the end, where it hurts most.
                bytes.clone_from(&whole);
                let at = whole.len() - 1 - random.below(900);
                bytes[at] = random.below(256) as u8;
            }
            fs::write(&path, bytes).unwrap();
            let _ = Corpus::read(&path, WIDE);
        }
    }
}

#[test]
fn any_bytes_give_a_result_or_words() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = Corpus::from_text("reviews", &reviews(400).join("\n"), WIDE).unwrap();
    let files = prepare(&corpus, 300, dir.path(), &mut |_| {}).unwrap().files;
    let tokens = fs::read(&files[2]).unwrap();
    let json = fs::read(&files[0]).unwrap();
    let text = (table(&reviews(250)) + "a\r\n\r\n").into_bytes();
    let lines = json_lines(&reviews(100)) + "{\"document\":\"\\ud800\"}";
    let path = dir.path().join("any.tsv");
    let mut random = Random(5);
    for turn in 0..400 {
        let tokens = mutated(&tokens, &mut random);
        fs::write(&path, tokens).unwrap();
        if let Ok(tokens) = Tokens::open(&path) {
            let windows = Windows::new(&tokens, 3);
            for sample in 0..windows.len() {
                let rows = windows.batch(&[sample]);
                assert!(
                    rows.targets()
                        .iter()
                        .all(|&token| (token as usize) < tokens.vocab())
                );
            }
        }
        let bytes = mutated(&text, &mut random);
        fs::write(&path, &bytes).unwrap();
        let _ = Corpus::read(&path, WIDE);
        let lossy = String::from_utf8_lossy(&bytes).repeat(2);
        let lines = String::from_utf8_lossy(&mutated(lines.as_bytes(), &mut random)).repeat(2);
        let _ = Corpus::from_text("any.jsonl", &lines, Limits::default());
        for name in ["any.tsv", "any.txt", "any.jsonl"] {
            let _ = Corpus::from_text(name, &lossy, Limits::default());
        }
        if turn % 4 == 0 {
            let _ = Tokenizer::parse(&mutated(&json, &mut random));
        }
    }
}

/// Some bytes changed, cut out or put in; or bytes of nothing.
fn mutated(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    if random.below(8) == 0 {
        return (0..random.below(9_000))
            .map(|_| random.below(256) as u8)
            .collect();
    }
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        let near = random.below(48).min(bytes.len() - 1);
        match random.below(5) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[near] = random.below(256) as u8,
            2 => bytes.truncate(at + 1),
            3 => drop(bytes.drain(at.min(near)..near)),
            _ => bytes.insert(at, b"\t\n\r \"{\xEA"[random.below(7)]),
        }
    }
    bytes
}

#[test]
fn a_model_is_loaded_with_its_tokeniser() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, json) = (
        dir.path().join("model.safetensors"),
        dir.path().join("tokenizer.json"),
    );
    let learn = |vocab| Tokenizer::learn(&reviews(100), vocab).unwrap();
    learn(300).write(&json).unwrap();
    let config = ModelConfig {
        vocab: 300,
        width: 16,
        layers: 1,
        heads: 2,
        kv_heads: Some(2),
        hidden: 16,
        ..ModelConfig::default()
    };
    let model = Model::new(Family::new(config).unwrap(), 1);
    to_checkpoint(&model).write(&checkpoint).unwrap();
    let (loaded, tokenizer) = load(&checkpoint, &json).unwrap();
    assert!(loaded.params == model.params && tokenizer.vocab() == 300);

    let wrong = |expected: &[&str]| {
        let error = load(&checkpoint, &json).err().unwrap().to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    };
    learn(301).write(&json).unwrap();
    wrong(&["the tokeniser has 301 tokens and the model 300"]);
    fs::write(&json, "{}").unwrap();
    wrong(&["tokenizer.json is no tokeniser"]);
    fs::remove_file(&json).unwrap();
    wrong(&["tokenizer.json", "No such file"]);
    let whole = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &whole[..whole.len() - 1]).unwrap();
    wrong(&["model.safetensors is damaged"]);
    let mut other = nn::Checkpoint::default();
    other.push("bias", &[1], vec![0.5]);
    other.write(&checkpoint).unwrap();
    wrong(&["model.safetensors holds no model", "config"]);
    fs::remove_file(&checkpoint).unwrap();
    wrong(&["model.safetensors", "No such file"]);
}
