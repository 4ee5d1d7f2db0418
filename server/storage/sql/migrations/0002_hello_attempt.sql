-- The newest hello of each device, so that one that comes late is known. A constant default rewrites no rows, and a node of
-- the build before inserts without the column: the two may run side by side.
alter table device_directory add column attempt bigint not null default 0;
