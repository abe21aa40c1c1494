<?php
// LocalSettings of every wiki of the farm. WIKI names the wiki's folder; what differs between wikis, and what a test
// may switch while the wiki runs, are files in that folder, read anew by each request.
$wiki = getenv( 'WIKI' );

$wgSitename = 'Wiki ' . basename( $wiki );
$wgServer = 'http://127.0.0.1:' . trim( file_get_contents( "$wiki/port" ) );
$wgScriptPath = '/w';
$wgSecretKey = trim( file_get_contents( "$wiki/secret" ) );
$wgLanguageCode = 'en';
$wgLocaltimezone = 'UTC';
$wgEnableEmail = false;
$wgPingback = false;
$wgShowExceptionDetails = true;
$wgRateLimits = [];                  // users edit as fast as a test wants
wfLoadSkin( 'Vector' );

// The same files as the installer's, one lock each: a drain must not hold up readers.
$sqlite = [
	'type' => 'sqlite', 'dbDirectory' => "$wiki/data", 'tablePrefix' => '', 'trxMode' => 'IMMEDIATE', 'flags' => 0,
	'variables' => [ 'synchronous' => 'NORMAL' ],
];
$wgDBtype = 'sqlite';
$wgDBname = 'wiki';
$wgSQLiteDataDir = "$wiki/data";
$wgSharedTables[] = 'actor';
$wgObjectCaches[CACHE_DB] = [
	'class' => SqlBagOStuff::class, 'loggroup' => 'SQLBagOStuff', 'server' => [ 'dbname' => 'wikicache' ] + $sqlite,
];
$wgJobTypeConf['default'] = [
	'class' => 'JobQueueDB', 'claimTTL' => 3600, 'server' => [ 'dbname' => 'wiki_jobqueue' ] + $sqlite,
];

// Without a cache the statistic is live; with one it is up to 60 s old, as in production.
$wgMainCacheType = $wgMessageCacheType = is_file( "$wiki/cached" ) ? CACHE_ACCEL : CACHE_NONE;
$wgParserCacheType = CACHE_DB;
$wgTmpDirectory = "$wiki/tmp";       // the back-off file lies here: shared, one wiki's failures would slow another
$wgCacheDirectory = dirname( $wiki ) . '/messages';

// What the farm is for: only Special:RunJobs works the queue, never the end of a page view.
$wgJobRunRate = 0;

if ( is_file( "$wiki/read-only" ) ) {
	$wgReadOnly = 'read-only for a test';
}

// To who is not logged in the API answers with an error, and with HTTP 200.
if ( is_file( "$wiki/private" ) ) {
	$wgGroupPermissions['*']['read'] = false;
}

// A job that fails whenever it runs.
$wgJobClasses['poison'] = 'PoisonJob';
$wgAutoloadClasses['PoisonJob'] = __DIR__ . '/PoisonJob.php';

// One line when a request to run jobs begins and one when it ends, so that a test can see two at once.
if ( ( $_SERVER['REQUEST_METHOD'] ?? '' ) === 'POST' && ( $_POST['title'] ?? '' ) === 'Special:RunJobs' ) {
	$note = static function ( string $what, string $more ) use ( $wiki ) {
		$line = sprintf( "%.3f %s %d %s\n", microtime( true ), $what, getmypid(), $more );
		file_put_contents( "$wiki/runjobs.log", $line, FILE_APPEND | LOCK_EX );
	};
	$note( 'begin', 'maxjobs=' . (int)( $_POST['maxjobs'] ?? 0 ) );
	register_shutdown_function( static fn () => $note( 'end', (string)http_response_code() ) );
}
