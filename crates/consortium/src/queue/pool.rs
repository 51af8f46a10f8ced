//! A site's machines as placement sees them: nodes that are alike, each with so many GPUs.
//!
//! A job takes GPUs of one node, or whole nodes and a rest of another. Nodes are kept in lists by how many of
//! their GPUs are free, so that the fullest node with room is found at once.

/// A site's machines. A site whose nodes don't matter is one node with all its GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machines {
    /// How many nodes.
    pub nodes: u32,
    /// GPUs of each.
    pub gpus: u32,
    /// What sort of GPU: what of one sort a project holds is measured against all of that sort.
    pub kind: u16,
    /// What the use of a GPU for an hour costs more than leaving it idle: cheaper sites are taken first.
    pub price: u64,
}

/// GPUs of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) node: u32,
    pub(super) gpus: u32,
}

/// What is free at a site.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub(super) machines: Machines,
    /// Free GPUs, by node.
    free: Vec<u32>,
    /// The nodes with so many free GPUs, in no order that matters.
    lists: Vec<Vec<u32>>,
    /// Where a node is in its list.
    at: Vec<u32>,
    pub(super) free_gpus: u64,
}

impl Pool {
    pub(super) fn new(machines: Machines) -> Self {
        let nodes: Vec<u32> = (0..machines.nodes).collect();
        // A list for each number of GPUs; a flat site of many GPUs has one node, which moves between few.
        let mut lists = vec![Vec::new(); machines.gpus as usize + 1];
        lists[machines.gpus as usize].clone_from(&nodes);
        Self {
            machines,
            free: vec![machines.gpus; nodes.len()],
            lists,
            at: nodes,
            free_gpus: machines.all(),
        }
    }

    /// How many GPUs of the site a job takes that asks for `gpus`; 0 asks for all.
    pub(super) fn wanted(&self, gpus: u32) -> u64 {
        match gpus {
            0 => self.machines.all(),
            gpus => gpus.into(),
        }
    }

    /// Whether a job of this shape could run here if nothing else did.
    pub(super) fn suits(&self, gpus: u32) -> bool {
        let (wanted, all) = (self.wanted(gpus), self.machines.all());
        wanted <= all && all > 0
    }

    pub(super) fn free(&self, node: u32) -> u32 {
        self.free[node as usize]
    }

    /// The nodes for `gpus`: the fullest that has room, or whole free nodes and the fullest for the rest.
    /// `spare` says how much of a node may be used at all.
    pub(super) fn find(&self, gpus: u32, spare: Option<&[u32]>) -> Option<Vec<Held>> {
        let wanted = self.wanted(gpus);
        if wanted > self.free_gpus || wanted == 0 {
            return None;
        }
        let each = self.machines.gpus;
        let open = |node: u32, gpus: u32| spare.is_none_or(|spare| spare[node as usize] >= gpus);
        let whole = usize::try_from(wanted / u64::from(each)).ok()?;
        let rest = (wanted % u64::from(each)) as u32;
        let mut held = Vec::with_capacity(whole + 1);
        if whole > 0 {
            let nodes = self.lists[each as usize].iter().rev();
            let nodes = nodes.filter(|node| open(**node, each)).take(whole);
            held.extend(nodes.map(|node| Held {
                node: *node,
                gpus: each,
            }));
            if held.len() < whole {
                return None;
            }
        }
        if rest > 0 {
            let taken = |node: u32| held.iter().any(|h| h.node == node);
            let mut nodes = (rest..=each).flat_map(|free| self.lists[free as usize].iter().rev());
            let node = nodes.find(|node| open(**node, rest) && !taken(**node))?;
            let node = *node;
            held.push(Held { node, gpus: rest });
        }
        Some(held)
    }

    /// Whether [`Pool::find`] would find anything, without `spare`.
    pub(super) fn fits(&self, gpus: u32) -> bool {
        let wanted = self.wanted(gpus);
        if wanted > self.free_gpus || wanted == 0 {
            return false;
        }
        if self.machines.nodes == 1 {
            return true;
        }
        let each = self.machines.gpus;
        let whole = wanted / u64::from(each);
        let rest = (wanted % u64::from(each)) as usize;
        let empty = self.lists[each as usize].len() as u64;
        let other = || {
            self.lists[rest..each as usize]
                .iter()
                .any(|list| !list.is_empty())
        };
        empty >= whole && (rest == 0 || empty > whole || other())
    }

    /// GPUs wherever some are free, and fewer than asked for if there are too few: a job that runs already has
    /// them, whatever this picture of the site says.
    pub(super) fn whatever(&self, gpus: u32) -> Vec<Held> {
        let mut left = self.wanted(gpus);
        let mut held = Vec::new();
        for (node, free) in (0..).zip(&self.free) {
            let gpus = left.min((*free).into()) as u32;
            left -= u64::from(gpus);
            if gpus > 0 {
                held.push(Held { node, gpus });
            }
        }
        held
    }

    pub(super) fn take(&mut self, held: &[Held]) {
        for h in held {
            self.set(h.node, self.free[h.node as usize] - h.gpus);
        }
    }

    pub(super) fn give_back(&mut self, held: &[Held]) {
        for h in held {
            self.set(h.node, self.free[h.node as usize] + h.gpus);
        }
    }

    fn set(&mut self, node: u32, free: u32) {
        let old = std::mem::replace(&mut self.free[node as usize], free);
        self.free_gpus = self.free_gpus + u64::from(free) - u64::from(old);
        let (list, at) = (&mut self.lists[old as usize], self.at[node as usize] as usize);
        list.swap_remove(at);
        if let Some(moved) = list.get(at) {
            self.at[*moved as usize] = at as u32;
        }
        let list = &mut self.lists[free as usize];
        self.at[node as usize] = list.len() as u32;
        list.push(node);
    }
}

impl Machines {
    /// All GPUs of the site.
    pub fn all(&self) -> u64 {
        u64::from(self.nodes) * u64::from(self.gpus)
    }
}
