<?php
// What the farm does to a wiki from the inside, in one process because starting MediaWiki costs more than the work:
//   maintain.php pages N        N pages that use Template:Status, and one that uses Template:Note, with nothing queued
//   maintain.php backlog NAME   edit Template:Status so that every page joins Category:NAME, as soon as jobs run
//   maintain.php poison N       queue N jobs that always fail
use MediaWiki\MediaWikiServices;

require_once '/usr/share/mediawiki/maintenance/Maintenance.php';

class Maintain extends Maintenance {
	public function __construct() {
		parent::__construct();
		$this->addArg( 'action', 'pages, backlog or poison' );
		$this->addArg( 'value', 'a number or a name' );
	}

	public function execute() {
		$value = $this->getArg( 1 );
		match ( $this->getArg( 0 ) ) {
			'pages' => $this->pages( (int)$value ),
			'backlog' => $this->backlog( $value ),
			'poison' => $this->poison( (int)$value ),
		};
	}

	private function pages( int $count ): void {
		$this->edit( 'Template:Status', 'Status: draft.' );
		$this->edit( 'Template:Note', 'No note.' );
		$this->edit( 'Noted', 'A page with a note: {{Note}}' );
		for ( $i = 1; $i <= $count; $i++ ) {
			$this->edit( "Item $i", "Item $i. {{Status}}" );
		}
		$this->runJobs( [] );
	}

	private function backlog( string $category ): void {
		$this->edit( 'Template:Status', "Status: approved. [[Category:$category]]" );
		// The edit queues one root job of each type; run, it fans out to one job a page, which is the backlog we want.
		foreach ( [ 'refreshLinks', 'htmlCacheUpdate' ] as $type ) {
			$this->runJobs( [ 'type' => $type, 'maxJobs' => 1 ] );
		}
	}

	private function poison( int $count ): void {
		$jobs = array_map( static fn ( $i ) => new PoisonJob( [ 'n' => $i, 'at' => microtime( true ) ] ), range( 1, $count ) );
		MediaWikiServices::getInstance()->getJobQueueGroup()->push( $jobs );
	}

	private function edit( string $title, string $text ): void {
		$page = MediaWikiServices::getInstance()->getWikiPageFactory()->newFromTitle( Title::newFromText( $title ) );
		$content = ContentHandler::makeContent( $text, $page->getTitle() );
		$status = $page->doUserEditContent( $content, User::newSystemUser( 'Farm', [ 'steal' => true ] ), 'seed', EDIT_SUPPRESS_RC );
		if ( !$status->isOK() ) {
			$this->fatalError( "$title: " . $status->getMessage( false, false, 'en' )->text() );
		}
		DeferredUpdates::doUpdates();
	}

	private function runJobs( array $options ): void {
		MediaWikiServices::getInstance()->getJobRunner()->run( $options );
	}
}

$maintClass = Maintain::class;
require_once RUN_MAINTENANCE_IF_MAIN;
