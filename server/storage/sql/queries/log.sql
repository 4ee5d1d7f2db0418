-- Reading the log.

-- name: events_after_usn
-- scope: user
-- What a phone that has everything up to `usn` has not seen.
select * from event
where app_id = $1 and user_id = $2 and usn > $3
order by usn limit $4;

-- name: events_after_seq
-- scope: user
-- A conversation from a point on, private notes included: the desk's reading.
select * from event
where app_id = $1 and user_id = $2 and conversation_id = $3 and seq > $4
order by seq limit $5;

-- name: events_before_seq
-- scope: user
-- A page of a conversation for the user, newest first. What retention has trimmed has nothing to show.
select * from event
where app_id = $1 and user_id = $2 and conversation_id = $3 and seq < $4 and usn is not null
    and body::text <> '{"trimmed":true}'
order by seq desc limit $5;

-- name: find_event
-- scope: user
select * from event where app_id = $1 and user_id = $2 and conversation_id = $3 and seq = $4;

-- name: find_epoch
-- scope: reference
-- The history this log belongs to. The first eight digits of a WAL file's name are the timeline, which is new after
-- a restored backup or a failover; the rest was drawn when the database was made.
select epoch || '-' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) from installation;
