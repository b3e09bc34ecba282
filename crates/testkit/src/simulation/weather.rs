//! What goes wrong in a run, and what is promised in spite of it.
//!
//! A seed draws one kind of weather, with shares of others where the promises allow both at once. Lists that
//! are late or incomplete occur only with a single writer: a place that shows them is declared so, and
//! lifeboat promises no more there.

use crate::dice::Dice;
use crate::simulation::actors::prune::Manners;
use storage::{ErrorKind, Faults};

/// Kinds of damage at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// One of the two copies of a configuration, key slot or snapshot record is lost.
    LostCopy,
    /// A byte of a small object or of a tree pack changes.
    Flip,
    /// An index segment is lost.
    LostIndex,
    /// A pack is lost or cut short: older snapshots are hurt, the next run stores it again.
    LostPack,
}

/// The weather of a run.
#[derive(Clone, Debug)]
pub struct Weather {
    /// A word for reports.
    pub name: &'static str,
    /// What the place does to requests.
    pub faults: Faults,
    /// Whether clients repeat requests that failed for a while, as the program does.
    pub patient: bool,
    /// Clients die once in so many operations; 0 never.
    pub crash_once_in: u64,
    /// Whether dying may mean a power cut of the machine.
    pub power_cuts: bool,
    /// Whether dying may leave the beginning of an object.
    pub tears: bool,
    /// Two machines or one.
    pub one_machine: bool,
    /// Damage at rest.
    pub rot: Option<Rot>,
    /// Somebody adds objects.
    pub intruder: bool,
    /// Clocks jump.
    pub clocks_jump: bool,
    /// Clients keep files that save time, and lose them or find them damaged.
    pub caches: bool,
    /// Only one client writes.
    pub single_writer: bool,
    /// How space is freed, if it is.
    pub prunes: Option<Manners>,
    /// The place's capacity beyond the first repository objects.
    pub room_bytes: Option<u64>,
}

impl Weather {
    /// Nothing goes wrong.
    pub fn calm() -> Self {
        Weather {
            name: "calm",
            faults: Faults::default(),
            patient: true,
            crash_once_in: 0,
            power_cuts: false,
            tears: false,
            one_machine: false,
            rot: None,
            intruder: false,
            clocks_jump: false,
            caches: false,
            single_writer: false,
            prunes: None,
            room_bytes: None,
        }
    }

    /// The weather of a seed.
    pub fn draw(dice: &mut Dice) -> Self {
        let mut weather = Weather::calm();
        weather.patient = !dice.once_in(3);
        weather.clocks_jump = dice.once_in(3);
        weather.one_machine = dice.once_in(2);
        weather.caches = dice.once_in(5);
        weather.prunes = dice.once_in(2).then(|| Manners::draw(dice));
        match dice.below(16) {
            0 => weather.patient = true,
            1..=3 => weather.crashing(dice),
            4 | 5 => weather.flaky(dice),
            6 => {
                weather.flaky(dice);
                weather.crashing(dice);
                weather.name = "flaky and crashing";
            }
            7 => weather.noisy(dice),
            8 => weather.full(dice),
            9 => weather.locked(dice),
            10 => weather.late(dice),
            11 => weather.busy(dice),
            12 | 13 => weather.rotting(dice),
            14 => {
                weather.name = "intruder";
                weather.intruder = true;
            }
            _ => {
                weather.crashing(dice);
                weather.rotting(dice);
                weather.name = "rotting and crashing";
            }
        }
        weather
    }

    fn crashing(&mut self, dice: &mut Dice) {
        self.name = "crashing";
        self.crash_once_in = 1 + dice.below(3);
        self.power_cuts = !dice.once_in(3);
        self.tears = dice.once_in(2);
    }

    fn flaky(&mut self, dice: &mut Dice) {
        self.name = "flaky";
        let mut permille = || [0, 10, 50][dice.below(3) as usize];
        self.faults.error_before_permille = permille();
        self.faults.error_after_permille = permille();
        self.faults.torn_put_permille = permille();
        self.faults.repeat_change_permille = permille();
        self.faults.wrongly_taken_permille = permille() / 5;
        self.faults.error_kind = if dice.once_in(2) { ErrorKind::Transient } else { ErrorKind::Other };
    }

    fn noisy(&mut self, dice: &mut Dice) {
        self.name = "noisy";
        let mut permille = || [0, 10, 40][dice.below(3) as usize];
        self.faults.flip_read_permille = permille();
        self.faults.short_read_permille = permille();
        self.faults.misdirected_read_permille = 5 + permille();
    }

    fn full(&mut self, dice: &mut Dice) {
        self.name = "full";
        self.room_bytes = Some(dice.below(60_000));
    }

    fn locked(&mut self, dice: &mut Dice) {
        self.name = "locked";
        self.faults.append_only = dice.once_in(2);
        self.faults.keeps_everything = !self.faults.append_only;
    }

    fn late(&mut self, dice: &mut Dice) {
        self.name = "late lists";
        self.single_writer = true;
        self.prunes = None;
        self.faults.list_delay_requests = dice.below(50);
        self.faults.short_list_permille = dice.below(100) as u16;
    }

    fn busy(&mut self, dice: &mut Dice) {
        self.name = "busy";
        let from = dice.below(300);
        self.faults.busy = Some(from..from + 1 + dice.below(40));
    }

    fn rotting(&mut self, dice: &mut Dice) {
        self.name = "rotting";
        let kinds = [Rot::LostCopy, Rot::Flip, Rot::LostIndex, Rot::LostPack];
        self.rot = Some(kinds[dice.below(4) as usize]);
    }

    /// Whether every operation must succeed.
    pub fn is_calm(&self) -> bool {
        self.name == "calm"
    }

    /// Whether nothing is ever missing or changed, so that nobody may call anything damaged.
    pub fn has_no_damage(&self) -> bool {
        let f = &self.faults;
        let reads_well =
            f.flip_read_permille == 0 && f.short_read_permille == 0 && f.misdirected_read_permille == 0;
        reads_well
            && f.torn_put_permille == 0
            && f.error_kind == ErrorKind::Transient
            && !self.tears
            && f.wrongly_taken_permille == 0
            && f.short_list_permille == 0
            && f.list_delay_requests == 0
            && self.rot.is_none()
            && !self.intruder
    }

    /// Whether the power may go while somebody relies on what another was not able to make durable any more.
    pub fn loses_others_work(&self) -> bool {
        self.power_cuts
    }

    /// Whether what a client looks at may be taken away while it looks.
    pub fn takes_away_at_once(&self) -> bool {
        self.prunes.is_some_and(|manners| manners.no_grace || self.clocks_jump)
    }

    /// Whether what was forgotten can surely be brought back.
    pub fn can_undo(&self) -> bool {
        self.prunes.is_none_or(|manners| manners.undo_for_ever)
    }

    /// Whether a check at the end must find nothing. What a client that died left torn is named by it.
    pub fn leaves_no_damage(&self) -> bool {
        self.faults.torn_put_permille == 0 && !self.tears && self.rot.is_none() && !self.intruder
    }

    /// Whether a repair at the end must make everything whole: nothing was damaged but what second copies and
    /// parity are for.
    pub fn can_be_mended(&self) -> bool {
        let is_bearable = matches!(self.rot, None | Some(Rot::LostCopy | Rot::Flip | Rot::LostIndex));
        is_bearable && Weather { rot: None, ..self.clone() }.leaves_no_damage()
    }
}
