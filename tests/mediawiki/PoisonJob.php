<?php
/** Throws, as a job with a bug does: MediaWiki leaves it claimed for an hour and tries again. */
class PoisonJob extends Job implements GenericParameterJob {
	public function __construct( array $params ) {
		parent::__construct( 'poison', $params );
	}

	public function run() {
		throw new RuntimeException( 'poison job failed' );
	}
}
