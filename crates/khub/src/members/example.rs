//! 215 organisations that don't exist, in the proportions of those that founded the consortium: 57 universities,
//! 31 of them foreign; 119 companies, 17 foreign; 18 institutes, 11 foreign; 21 others.

use super::csv::cell;

/// A kind, its word for CSV, how many there are at home and abroad.
const KINDS: [(Sort, &str, usize, usize); 4] = [
    (Sort::University, "university", 26, 31),
    (Sort::Company, "company", 102, 17),
    (Sort::Institute, "institute", 7, 11),
    (Sort::Public, "public", 21, 0),
];

#[derive(Clone, Copy)]
enum Sort {
    University,
    Company,
    Institute,
    Public,
}

/// Names are two syllables and a word for what it is, in English and Korean.
type Syllables = [(&'static str, &'static str); 12];
const FIRST: Syllables = [
    ("Ga", "가"),
    ("Na", "나"),
    ("Da", "다"),
    ("Ra", "라"),
    ("Ma", "마"),
    ("Ba", "바"),
    ("Sae", "새"),
    ("A", "아"),
    ("Ja", "자"),
    ("Ha", "하"),
    ("O", "오"),
    ("Yu", "유"),
];
const SECOND: Syllables = [
    ("on", "온"),
    ("rae", "래"),
    ("som", "솜"),
    ("ram", "람"),
    ("ru", "루"),
    ("rom", "롬"),
    ("byeol", "별"),
    ("neul", "늘"),
    ("ul", "울"),
    ("dam", "담"),
    ("gyeol", "결"),
    ("mi", "미"),
];
const ABROAD_FIRST: Syllables = [
    ("Nor", "노르"),
    ("Vel", "벨"),
    ("Tal", "탈"),
    ("Kes", "케스"),
    ("Lun", "룬"),
    ("Bry", "브리"),
    ("Os", "오스"),
    ("Dar", "다르"),
    ("Fen", "펜"),
    ("Mor", "모르"),
    ("Sel", "셀"),
    ("Wen", "웬"),
];
const ABROAD_SECOND: Syllables = [
    ("wick", "윅"),
    ("dane", "데인"),
    ("mere", "미어"),
    ("holm", "홀름"),
    ("stad", "스타드"),
    ("via", "비아"),
    ("ross", "로스"),
    ("gard", "가르드"),
    ("lund", "룬드"),
    ("tine", "틴"),
    ("bury", "버리"),
    ("zell", "첼"),
];

/// The file. The same seed, the same names.
pub(super) fn csv(seed: u64) -> String {
    let mut text = "id,name,name_ko,kind,home\n".to_owned();
    let mut dice = Dice(seed);
    let mut at_home = stems(&FIRST, &SECOND, &mut dice);
    let mut abroad = stems(&ABROAD_FIRST, &ABROAD_SECOND, &mut dice);
    for (sort, kind, domestic, foreign) in KINDS {
        for (home, count) in [("domestic", domestic), ("foreign", foreign)] {
            for n in 0..count {
                let stems = if home == "domestic" {
                    &mut at_home
                } else {
                    &mut abroad
                };
                // There are fewer stems than organisations at home; a stem comes again with another word.
                stems.rotate_left(1);
                let (english, korean) = &stems[0];
                let (word, word_ko) = word(sort, n);
                let name = format!("{english} {word}");
                let id = name.to_lowercase().replace(' ', "-");
                let line = [&id, &name, &format!("{korean}{word_ko}"), kind, home];
                text.push_str(&line.map(cell).join(","));
                text.push('\n');
            }
        }
    }
    text
}

fn word(sort: Sort, n: usize) -> (&'static str, &'static str) {
    let companies = [
        ("Systems", "시스템"),
        ("Robotics", "로보틱스"),
        ("Cloud", "클라우드"),
        ("Bio", "바이오"),
        ("Labs", "랩스"),
        ("Telecom", "텔레콤"),
        ("Semiconductor", "반도체"),
        ("Mobility", "모빌리티"),
        ("Energy", "에너지"),
        ("Software", "소프트"),
    ];
    let bodies = [
        ("Agency", "진흥원"),
        ("Foundation", "재단"),
        ("Hospital", "병원"),
        ("Centre", "센터"),
    ];
    match sort {
        Sort::University => ("University", "대학교"),
        Sort::Company => companies[n % companies.len()],
        Sort::Institute => ("Institute", "연구원"),
        Sort::Public => bodies[n % bodies.len()],
    }
}

/// All pairs of syllables, shuffled.
fn stems(first: &Syllables, second: &Syllables, dice: &mut Dice) -> Vec<(String, String)> {
    let pairs = first.iter().flat_map(|a| second.iter().map(move |b| (a, b)));
    let mut stems: Vec<(String, String)> = pairs
        .map(|(a, b)| (format!("{}{}", a.0, b.0), format!("{}{}", a.1, b.1)))
        .collect();
    for i in (1..stems.len()).rev() {
        stems.swap(i, dice.below(i + 1));
    }
    stems
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}
