-- The house's database, schema 2 (docs/spec/state.md). Everything but `checkpoints` and `bodies` is a projection of `entries`.

CREATE TABLE entries (
  idx INTEGER PRIMARY KEY,
  leaf BLOB NOT NULL,
  time_ns INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  pairing INTEGER,            -- ids.no: through which pair
  key INTEGER,                -- ids.no: by which key
  about INTEGER,              -- ids.no: the pair, key, invite or token it concerns
  action TEXT,
  verdict TEXT,
  mark INTEGER                -- the first 8 bytes of SHA-256 of the signal's signature, signed big endian
) STRICT;

-- The index of the entries, written 1,024 entries at a time (storage/postings.py): a commit touches no index page, and a query looks at
-- the entries behind it itself. col: 1 kind, 2 pairing, 3 key, 4 about, 5 action, 6 verdict (refuse, hold). `places`: which entries of
-- the span have the value: fewer than 64 as u16 (big endian), rising; else a bit for each, the first in the lowest of byte 0.
CREATE TABLE postings (
  col INTEGER NOT NULL,
  value ANY NOT NULL,
  span INTEGER NOT NULL,      -- entries span * 1024 up to the next
  places BLOB NOT NULL,
  PRIMARY KEY (col, value, span)
) STRICT, WITHOUT ROWID;
-- The marks of the same entries.
CREATE TABLE marks (mark INTEGER NOT NULL, idx INTEGER NOT NULL, PRIMARY KEY (mark, idx)) STRICT, WITHOUT ROWID;

CREATE TABLE ids (no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE) STRICT;

CREATE TABLE tree (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  size INTEGER NOT NULL,
  root BLOB NOT NULL,
  edge BLOB NOT NULL
) STRICT;

-- Full tiles only (C2SP tlog-tiles: 256 hashes); id = level << 56 | n. `root` is the tile's own root, one hash of the level above.
CREATE TABLE tiles (
  id INTEGER PRIMARY KEY,
  root BLOB NOT NULL,
  low_ns INTEGER,             -- level 0: the times of its entries
  high_ns INTEGER,
  hashes BLOB NOT NULL
) STRICT;
CREATE INDEX tiles_time ON tiles (high_ns, low_ns) WHERE high_ns IS NOT NULL;

-- The house itself (docs/spec/restore.md, section 1).
CREATE TABLE house (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  state TEXT NOT NULL CHECK (state IN ('open', 'closed', 'moved')),
  why TEXT,                   -- closed: rolled-back, restoring; moved
  size INTEGER NOT NULL,      -- closed: the entries before it was closed
  owner BLOB,                 -- closed: the human key that may sign `restored`
  first_name TEXT NOT NULL,
  log_name TEXT NOT NULL,     -- under which checkpoints are signed now
  log_keys BLOB NOT NULL,     -- [[type, key], ...], canonical CBOR
  restored INTEGER NOT NULL,  -- how often
  successor BLOB              -- moved: the new machine's signing key, COSE_Key
) STRICT;

CREATE TABLE pairs (
  pairing BLOB PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('pending', 'standing', 'denied', 'expired', 'broken', 'severed', 'restored')),
  role TEXT NOT NULL,
  pair_type TEXT NOT NULL,    -- as signed: part of the prologue
  effective TEXT NOT NULL,    -- after downgrades
  suite TEXT NOT NULL,
  label TEXT,
  subject BLOB NOT NULL,      -- KeyId of the other side's signing key
  signing_key BLOB NOT NULL,  -- its COSE_Key
  static_key BLOB NOT NULL,
  witness_key BLOB NOT NULL,
  house BLOB,
  invite BLOB,
  expires_ns INTEGER,
  genesis INTEGER NOT NULL,
  created_ns INTEGER NOT NULL,
  created INTEGER NOT NULL,   -- entries
  stood INTEGER,
  ended INTEGER,
  seen_origin BLOB,           -- the other side's newest checkpoint that we cosigned
  seen_size INTEGER,
  seen_root BLOB,
  seen_note BLOB,
  cosigned_size INTEGER,      -- our newest checkpoint that the other side cosigned
  log_name TEXT,              -- at a client: the house's log, as far as it was followed
  log_keys BLOB,              -- [[type, key], ...], canonical CBOR
  followed INTEGER,           -- the house's entry that was followed last
  showed_origin BLOB,         -- at a house: the newest checkpoint of ours that the pair showed and that we do not have
  showed_size INTEGER,
  showed_root BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX pairs_state ON pairs (state);
CREATE INDEX pairs_label ON pairs (label);
CREATE INDEX pairs_subject ON pairs (subject);

CREATE TABLE keys (
  key_id BLOB PRIMARY KEY,
  number INTEGER NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('standing', 'suspended', 'retired', 'compromised', 'replaced')),
  public BLOB NOT NULL,       -- COSE_Key
  classes TEXT NOT NULL,      -- words with spaces between
  actions TEXT NOT NULL,
  targets BLOB,               -- array of text, canonical CBOR
  schedule TEXT,
  place BLOB,
  expires_ns INTEGER,
  label TEXT,
  pairing BLOB,               -- a machine key: the pair that brought it
  introduced INTEGER NOT NULL,
  introduced_by BLOB,         -- the KeyId that signed it in
  changed INTEGER NOT NULL,   -- the entry that set `state`
  since INTEGER               -- compromised: from this entry on
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by ON keys (introduced_by) WHERE introduced_by IS NOT NULL;
CREATE INDEX keys_kind ON keys (kind, state);

CREATE TABLE invites (
  invite BLOB PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('open', 'consumed', 'revoked', 'expired', 'void')),
  pair_type TEXT NOT NULL,
  label TEXT,
  for_key BLOB,
  preapproved INTEGER NOT NULL,
  created_ns INTEGER NOT NULL,
  expires_ns INTEGER NOT NULL,
  session BLOB,
  created INTEGER NOT NULL,
  ended INTEGER,
  created_by BLOB             -- the KeyId that signed it
) STRICT, WITHOUT ROWID;
CREATE INDEX invites_state ON invites (state);

CREATE TABLE streams (
  no INTEGER PRIMARY KEY,
  key_id BLOB NOT NULL,
  stream BLOB NOT NULL,
  UNIQUE (key_id, stream)
) STRICT;

CREATE TABLE signals (
  stream INTEGER NOT NULL REFERENCES streams,
  n INTEGER NOT NULL,
  entry INTEGER NOT NULL,
  PRIMARY KEY (stream, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE proposals (
  entry INTEGER PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('held', 'approved', 'begun', 'denied', 'ended', 'void')),
  signal_hash BLOB NOT NULL,  -- SHA-256 of the signal's whole COSE bytes
  signal_entry INTEGER,       -- the entry that holds it
  key_id BLOB,                -- who signed it
  expires_ns INTEGER,
  risk TEXT,
  preconditions BLOB,
  body BLOB,                  -- SHA-256 of the quarantined body
  replaces INTEGER,
  approved INTEGER,           -- the entry of its approval, and the key that signed that
  approved_by BLOB,
  ended INTEGER,              -- the entry that set `state` last
  reason TEXT
) STRICT;
CREATE INDEX proposals_state ON proposals (state);
CREATE INDEX proposals_key ON proposals (key_id, state) WHERE key_id IS NOT NULL;
CREATE INDEX proposals_by ON proposals (approved_by) WHERE approved_by IS NOT NULL;

-- The gate (docs/spec/state.md, section 6). What a human signed beyond the row with which a key came in.
CREATE TABLE grants (
  entry INTEGER PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('standing', 'suspended', 'withdrawn')),
  subject BLOB NOT NULL,
  classes TEXT NOT NULL,      -- words with spaces between
  actions TEXT NOT NULL,
  targets BLOB,               -- array of text, canonical CBOR
  schedule TEXT,
  place BLOB,                 -- commitment
  expires_ns INTEGER,
  granted_by BLOB NOT NULL,
  changed INTEGER NOT NULL
) STRICT;
CREATE INDEX grants_subject ON grants (subject, state);
CREATE INDEX grants_by ON grants (granted_by);

CREATE TABLE facts (
  entry INTEGER PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('standing', 'suspended', 'withdrawn')),
  subject BLOB NOT NULL,      -- the key it is about; empty: all
  predicate TEXT NOT NULL,
  value BLOB,                 -- canonical CBOR; NULL: personal, see `clear`
  commitment BLOB,
  observed_ns INTEGER NOT NULL,
  until_ns INTEGER NOT NULL,  -- 2^63-1: without end
  stated_by BLOB,             -- who signed it, or the signal from which the house took it
  changed INTEGER NOT NULL
) STRICT;
CREATE INDEX facts_slice ON facts (subject, predicate, until_ns, entry) WHERE state = 'standing';
CREATE INDEX facts_predicate ON facts (predicate, entry);
CREATE INDEX facts_begin ON facts (observed_ns) WHERE state = 'standing';
CREATE INDEX facts_by ON facts (stated_by) WHERE stated_by IS NOT NULL;
CREATE INDEX facts_suspended ON facts (entry) WHERE state = 'suspended';

-- Where keys were seen; the place stands in `clear`, as long as it is not erased.
CREATE TABLE sightings (
  entry INTEGER PRIMARY KEY,
  subject BLOB NOT NULL,
  observed_ns INTEGER NOT NULL,
  signal_hash BLOB            -- SHA-256 of the signature of the signal that said so
) STRICT;
CREATE INDEX sightings_near ON sightings (subject, observed_ns, entry);

CREATE TABLE scopes (
  scope BLOB PRIMARY KEY,     -- SHA-256 of the statement
  entry INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'used', 'suspended', 'ended', 'void')),
  subject BLOB NOT NULL,
  verb TEXT,
  targets BLOB,               -- array of text, canonical CBOR
  body BLOB,
  origins BLOB,               -- KeyIds, one behind the other
  uses INTEGER,               -- NULL: any number of times
  used INTEGER NOT NULL,
  until_ns INTEGER NOT NULL,
  granted_by BLOB NOT NULL,
  changed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX scopes_subject ON scopes (subject, state);
CREATE INDEX scopes_by ON scopes (granted_by);

-- Open contexts only: what was delivered to a key since the context began.
CREATE TABLE contexts (
  subject BLOB PRIMARY KEY,
  begun INTEGER NOT NULL,
  last INTEGER NOT NULL,      -- the entry of the last delivery, `begun` before the first
  count INTEGER NOT NULL,
  edge BLOB NOT NULL,         -- of the Merkle tree over the references
  signers BLOB NOT NULL,      -- every key behind what was delivered: KeyIds, ascending; 32 zero bytes: unknown
  depth INTEGER NOT NULL      -- of the deepest signal delivered
) STRICT, WITHOUT ROWID;

CREATE TABLE plan (one INTEGER PRIMARY KEY CHECK (one = 1), entry INTEGER NOT NULL, plan BLOB NOT NULL) STRICT;

-- The entries that changed last what the gate judges by: what humans decide (rights), and anything of it (state).
CREATE TABLE epoch (one INTEGER PRIMARY KEY CHECK (one = 1), rights INTEGER NOT NULL, state INTEGER NOT NULL) STRICT;

CREATE TABLE effects (
  begun INTEGER PRIMARY KEY,
  effect TEXT NOT NULL,
  time_ns INTEGER NOT NULL,
  signal_hash BLOB
) STRICT;

-- Not projected: what was signed, and where the openings lie.
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, root BLOB NOT NULL, time_ns INTEGER NOT NULL, note BLOB NOT NULL) STRICT;
CREATE TABLE bodies (entry INTEGER PRIMARY KEY, slot INTEGER NOT NULL UNIQUE) STRICT;
-- Bodies whose files may not be synced yet: what a crash takes from the files is written there again at the next start.
CREATE TABLE fresh (slot INTEGER PRIMARY KEY, unit INTEGER NOT NULL, record BLOB NOT NULL, sealed BLOB NOT NULL) STRICT;
CREATE TABLE erasing (slot INTEGER PRIMARY KEY) STRICT;  -- erased in the ledger, its slot not yet destroyed for certain
-- The paths that signals ask for, from the bodies that survive; `indexed` says up to which entry (storage/targets.py).
CREATE TABLE targets (entry INTEGER PRIMARY KEY, target TEXT NOT NULL) STRICT;
CREATE INDEX targets_by ON targets (target, entry);
CREATE TABLE indexed (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL) STRICT;
-- Clear values of places and personal facts, from the bodies that survive (storage/clear.py): written and erased with their entries.
CREATE TABLE clear (entry INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;  -- canonical CBOR
