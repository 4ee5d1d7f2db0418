-- Reading the log.

-- name: events_after_usn
-- scope: user
-- What a phone that has everything up to `usn` has not seen, and the history these numbers belong to (find_history).
select e.*,
    (select epoch || '-' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) from installation) as history
from event e
where e.app_id = $1 and e.user_id = $2 and e.usn > $3
order by e.usn limit $4;

-- name: events_after_seq
-- scope: user
-- A conversation from a point on, private notes included: the desk's reading.
select * from event
where app_id = $1 and user_id = $2 and conversation_id = $3 and seq > $4
order by seq limit $5;

-- name: events_before_seq
-- scope: user
-- A page of a conversation for the user, newest first. What retention has trimmed has nothing to show.
select e.*,
    (select epoch || '-' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) from installation) as history
from event e
where e.app_id = $1 and e.user_id = $2 and e.conversation_id = $3 and e.seq < $4 and e.usn is not null
    and e.body::text <> '{"trimmed":true}'
order by e.seq desc limit $5;

-- name: find_event
-- scope: user
select * from event where app_id = $1 and user_id = $2 and conversation_id = $3 and seq = $4;

-- name: find_history
-- scope: reference
-- Names the history of this database: the first eight digits of a WAL file's name are the timeline, which is new after
-- a restored backup or a failover; the rest was drawn when the database was made. It cannot change within a
-- transaction, so the queries above say in the same breath which history their numbers belong to.
select epoch || '-' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) from installation;
