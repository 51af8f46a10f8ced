//! A worked example of the consortium: small, invented, and complete enough to run a job on.
//!
//! | who | what |
//! |---|---|
//! | `khub-office` | the programme office: admits, appropriates, awards |
//! | `hangang-cloud` | a cloud company that rents out a site |
//! | `namsan-telecom` | a telephone company that rents out a site |
//! | `gaon-university` | a university whose project holds an award |
//! | `fjord-institute` | a foreign partner that helps, with a site of its own |

use crate::failure::Failure;
use crate::folder::Folder;
use consortium::{
    Award, Command, FlopSeconds, FlopsPerSecond, Holder, Home, Kind, Organisation, Person, PersonId, Price,
    Programme, Project, Role, Site, SiteId, Tenure, Won,
};
use server::Hub;

/// The project that the quickstart's job belongs to.
pub(crate) const PROJECT: &str = "korean-reviews";
/// The university's researcher, who submits the job.
pub(crate) const MEMBER: &str = "minji";
/// The partner's researcher.
pub(crate) const PARTNER: &str = "ingrid";

/// A site rated at what one present-day core reaches in this training (80 GFLOP/s), and priced at what a
/// cloud asks for a core: 700,000 won a PFLOP-hour is 56 won an hour.
pub(crate) struct ExampleSite {
    pub(crate) name: &'static str,
    owner: &'static str,
    tenure: Tenure,
    gflops: u64,
    price: i64,
}

/// The partner's site is the cheapest: price alone would choose it.
pub(crate) const SITES: [ExampleSite; 3] = [
    ExampleSite {
        name: "hangang-1",
        owner: "hangang-cloud",
        tenure: Tenure::Rented,
        gflops: 80,
        price: 700_000,
    },
    ExampleSite {
        name: "namsan-1",
        owner: "namsan-telecom",
        tenure: Tenure::Rented,
        gflops: 80,
        price: 740_000,
    },
    ExampleSite {
        name: "fjord-1",
        owner: "fjord-institute",
        tenure: Tenure::Member,
        gflops: 80,
        price: 600_000,
    },
];

/// Founds the example in a hub, or finds that it is there: every command has a key.
pub(crate) fn found(hub: &Hub) -> Result<(), Failure> {
    for (i, command) in commands()?.into_iter().enumerate() {
        hub.ask(&format!("example {i}"), command)?;
    }
    Ok(())
}

/// Makes the credentials that the example's people and sites work with.
pub(crate) fn credentials(hub: &Hub, folder: &Folder) -> Result<(), Failure> {
    for name in ["office", MEMBER, PARTNER] {
        folder.credential(hub, name, Holder::Person(name.parse()?))?;
    }
    for site in &SITES {
        folder.credential(hub, site.name, Holder::Site(site.name.parse()?))?;
    }
    Ok(())
}

fn commands() -> Result<Vec<Command>, Failure> {
    use Home::{Domestic, Foreign};
    let organisations = [
        (
            "khub-office",
            "K-Hub programme office",
            "K-Hub 사업단",
            Kind::Public,
            Domestic,
        ),
        (
            "hangang-cloud",
            "Hangang Cloud",
            "한강클라우드",
            Kind::Company,
            Domestic,
        ),
        (
            "namsan-telecom",
            "Namsan Telecom",
            "남산텔레콤",
            Kind::Company,
            Domestic,
        ),
        (
            "gaon-university",
            "Gaon University",
            "가온대학교",
            Kind::University,
            Domestic,
        ),
        (
            "fjord-institute",
            "Fjord Institute",
            "피오르 연구소",
            Kind::Institute,
            Foreign,
        ),
    ];
    let people = [
        ("office", "khub-office", Some(Role::Office)),
        (MEMBER, "gaon-university", None),
        (PARTNER, "fjord-institute", None),
    ];
    let mut commands = Vec::new();
    for (id, name, name_ko, kind, home) in organisations {
        let (name, name_ko) = (name.to_owned(), name_ko.to_owned());
        commands.push(Command::Admit(Organisation {
            id: id.parse()?,
            name,
            name_ko,
            kind,
            home,
        }));
    }
    for (id, organisation, role) in people {
        let (id, organisation) = (id.parse()?, organisation.parse()?);
        commands.push(Command::AddPerson(Person {
            id,
            organisation,
            roles: role.into_iter().collect(),
        }));
    }
    for site in &SITES {
        commands.push(Command::AddSite(site.site()?));
    }
    commands.push(Command::OpenProject(project()?));
    // The consortium's whole budget of 2021-2025; the year it is booked in is the example's.
    commands.push(Command::Appropriate {
        year: 2021,
        won: Won(44_500_000_000),
    });
    commands.push(Command::Grant(Award {
        id: "korean-reviews-2021".parse()?,
        project: PROJECT.parse()?,
        won: Won(2_000_000),
        compute: FlopSeconds::from_pflop_hours(8),
    }));
    Ok(commands)
}

/// The partner's researcher works in the project, and still doesn't see what is restricted.
fn project() -> Result<Project, Failure> {
    let members: [PersonId; 2] = [MEMBER.parse()?, PARTNER.parse()?];
    Ok(Project {
        id: PROJECT.parse()?,
        title: "A small Korean language model".to_owned(),
        organisation: "gaon-university".parse()?,
        programme: Programme::Language,
        members: members.into(),
    })
}

impl ExampleSite {
    pub(crate) fn id(&self) -> Result<SiteId, Failure> {
        Ok(self.name.parse()?)
    }

    fn site(&self) -> Result<Site, Failure> {
        Ok(Site {
            id: self.id()?,
            owner: self.owner.parse()?,
            tenure: self.tenure,
            rated: FlopsPerSecond(self.gflops * 1_000_000_000),
            price: Price(self.price),
        })
    }
}
